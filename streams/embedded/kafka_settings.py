"""Settings of the embedded Kafka: one node, small, quick to start, with the short timeouts that tests need."""

from collections.abc import Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"
COORDINATORS = 4

# Only the first of Java's two compilers: the broker shares perhaps two cores with its clients, and the second compiler
# costs more than it saves. For 7.5 M records of 200 bytes in and out, 300 transactions and the start: 9.0 s of CPU with
# the first, 13.1 s with both, which are faster (0.84 against 1.0 s per 1.5 M) only after 6 M records; 5.9 against
# 8.5 ms for a transaction; 235 against 277 MB. Other collectors are not faster: Parallel takes 283 MB, G1 349 MB.
# Java fills its heap before it collects all of it: with 256 MB, all of it taken at the start, the process grew from 224
# to 387 MB in an hour at 50 events a second. 128 MB are three times what is in use with 1,600 partitions (42 MB). With
# the two sizes below 3 M records in and out took 1.3 s of CPU more, of 15.9.
JVM_FLAGS = (
    "-Xms64m",
    "-Xmn32m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # no files under the temp folder
    "--sun-misc-unsafe-memory-access=allow",  # Kafka 4.3 on Java 24+: a warning at each start, nothing to do about it
    "--enable-native-access=ALL-UNNAMED",  # zstd, lz4 and snappy
)
SETTINGS: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    # There is one node and no replica.
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # The default of 50 makes the start and the first transaction slower, and one node gains nothing from it.
    "offsets.topic.num.partitions": COORDINATORS,
    "transaction.state.log.num.partitions": COORDINATORS,
    "share.coordinator.state.topic.num.partitions": 1,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    # Allocated in the heap; 128 MB by default. 8 MB compact 300 k keys in one pass.
    "log.cleaner.dedupe.buffer.size": 8 << 20,
    # The newest segment is never compacted, and by default has 100 MB: commits of offsets alone, 2 MB a minute, filled
    # hundreds of megabytes before the first compaction.
    "offsets.topic.segment.bytes": 1 << 20,
    "transaction.state.log.segment.bytes": 1 << 20,
    # A tenth of a log is new before it is compacted; by default half of it is, and the two topics above went up and
    # down by 8 MB.
    "log.cleaner.min.cleanable.ratio": 0.1,
    # How long markers of transactions and records of deletion stay in a compacted topic, a day by default: the markers
    # of the workers' commits alone are 1.7 MB an hour.
    "log.cleaner.delete.retention.ms": 600_000,
    # Every half second by default, for ever, so that followers see that their leader lives; there are none.
    "metadata.max.idle.interval.ms": 10_000,
    # Retention is looked at every 5 minutes by default.
    "log.retention.check.interval.ms": 60_000,
    # A misspelt topic is an error, not a new topic with one partition.
    "auto.create.topics.enable": "false",
    # Replayed history has old timestamps: retention by time would delete it at once.
    "log.retention.ms": -1,
    # A broker that was killed may register again only after its session has expired. A start takes 11.8 s with the
    # default of 9 s, and 4 s with this. Controller and broker are one process, so no network loses their heartbeats.
    "broker.session.timeout.ms": 2_000,
    "broker.heartbeat.interval.ms": 250,
    # The default waits 3 s for further members.
    "group.initial.rebalance.delay.ms": 0,
    # Tests of a crashed member ask for timeouts shorter than a cluster should allow.
    "group.min.session.timeout.ms": 500,
    "group.consumer.min.session.timeout.ms": 500,
    "group.consumer.min.heartbeat.interval.ms": 100,
    # How often Kafka aborts transactions that timed out. Until then they hold back readers; 10 s by default.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
    "transaction.max.timeout.ms": 900_000,
}

LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
"""


def file_text(data: Path) -> str:
    """The settings file of a broker that keeps its logs in ``data``; the ports in it are placeholders.

    Real ports are given on the command line (``--override``). So the text is the same for every start in a folder, and
    a second broker, which is then refused, does not change the file of the first.
    """
    lines = [f"{key}={value}" for key, value in SETTINGS.items()]
    lines += listeners(port=9092, controller_port=9093)
    lines.append(f"log.dirs={_java_escaped(data)}")
    return "\n".join([*lines, ""])


def listeners(*, port: int, controller_port: int) -> list[str]:
    """Where Kafka listens, as ``key=value``: the ports for clients and for its controller, on the loopback."""
    return [
        f"listeners=PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        f"advertised.listeners=PLAINTEXT://{LOOPBACK}:{port}",
        # A fixed voter, so the controller may listen elsewhere after each start.
        f"controller.quorum.voters=1@{LOOPBACK}:{controller_port}",
    ]


def _java_escaped(path: Path) -> str:
    # java.util.Properties reads Latin-1, and a backslash starts an escape.
    units = memoryview(str(path).encode("utf-16-be")).cast("B")
    codes = [units[at] << 8 | units[at + 1] for at in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 and code != ord("\\") else f"\\u{code:04x}" for code in codes)
