"""Live work's own folds over a bounded range of the logs, beside live work and into a run of its own.

`ranges` says which records, `owning` which minutes of what comes out may be believed (pure), `plan` where to begin so
that they may, `log` reads Kafka and writes ClickHouse, `backfill` and `retrain` drive, `processes` spreads the work.
"""
