"""Live work's own folds over a bounded range of the logs, into a run of their own; `plan` is the front door."""
