"""Replays a bounded range of the logs with the folds of live work, and writes it as a run. Begin with `plan`."""
