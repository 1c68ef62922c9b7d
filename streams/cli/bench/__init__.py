"""`clickfold bench …`: measures speed, and in the same run what the machine could reach at most."""

from streams.cli.lazy import Lazy, lazy_group

COMMANDS = {
    "join": Lazy(
        "streams.cli.bench.join:join",
        "Compare the speed of a full join worker with that of a consumer that only reads the same topics.",
    ),
    "fold": Lazy(
        "streams.cli.bench.fold:fold",
        "Time the folds of the join in memory, without Kafka: microseconds of CPU for one event, by phase.",
    ),
    "ingest": Lazy(
        "streams.cli.bench.ingest:ingest",
        "Join the same events from files of several forms, and map them from a topic with the worker `ingest`.",
    ),
    "learn": Lazy(
        "streams.cli.bench.learn:learn",
        "Time the click models on files: rows for one second of CPU, beside Vowpal Wabbit and River if installed.",
    ),
    "backfill": Lazy(
        "streams.cli.bench.backfill:backfill",
        "Compare the speed of a backfill with that of live workers over the same topics, both into ClickHouse.",
    ),
    "delay": Lazy(
        "streams.cli.bench.delay:delay",
        "Learn a made-up stream under each policy for late labels; compare with labels that are known at once.",
    ),
    "recovery": Lazy(
        "streams.cli.bench.recovery:recovery",
        "Kill a join worker that has this many open impressions: seconds until it is live again, memory, disk space.",
    ),
    "latency": Lazy(
        "streams.cli.bench.latency:latency",
        "Time a click from the moment it is due to its outcome, its row, the learner and the pacing decision.",
    ),
    "pace": Lazy(
        "streams.cli.bench.pace:pace",
        "Pace many campaigns with one worker: time to a decision, CPU of each, memory, and a restart after a kill.",
    ),
    "growth": Lazy(
        "streams.cli.bench.growth:growth",
        "Measure speed and memory of the join as state, partitions, sizes, clicks, keys and duplicates grow.",
    ),
    "serve": Lazy(
        "streams.cli.bench.serve:serve",
        "Time calls of `clickfold serve`: CPU before HTTP, and latencies at a rate, with the server on one core.",
    ),
    "sink": Lazy(
        "streams.cli.bench.sink:sink",
        "Compare the speed of the sink, from Kafka to acknowledged rows, with clickhouse-connect and the engine alone.",
    ),
    "queries": Lazy(
        "streams.cli.bench.queries:queries",
        "Time every named query with its defaults, over a week of minute totals and outcomes.",
    ),
}
app = lazy_group(COMMANDS, "Measure speed, and in the same run what the machine could reach at most.")
