"""`clickfold bench …`: how fast, measured beside the ceiling of the same machine in the same run."""

from streams.cli.lazy import Lazy, lazy_group

COMMANDS = {
    "join": Lazy(
        "streams.cli.bench.join:join",
        "The join worker, everything on, against bare batch consumption of the same topics.",
    ),
    "recovery": Lazy(
        "streams.cli.bench.recovery:recovery",
        "Kill -9 a join worker with so many open impressions: seconds until it is live again, memory, bytes on disk.",
    ),
    "sink": Lazy(
        "streams.cli.bench.sink:sink",
        "The sink, from Kafka to acknowledged, against clickhouse-connect and the engine alone.",
    ),
    "queries": Lazy(
        "streams.cli.bench.queries:queries",
        "Every named query with its defaults, over a week of minute totals and outcomes.",
    ),
}
app = lazy_group(COMMANDS, "Measure, beside the ceiling of the same machine in the same run.")
