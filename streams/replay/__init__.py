"""Live work's own folds over a bounded range of the logs, beside live work and into a run of its own; and what then.

`ranges` says which records, `warmup` where to begin before them, `owning` which minutes of what comes out may be
believed (both pure), `plan` keeps what was asked for, `log` reads Kafka, `warehouse` writes ClickHouse, `backfill`
drives some partitions and `processes` all. `runs`, `spans`, `compare`, `promote`, `drop` are about runs that are there.
"""
