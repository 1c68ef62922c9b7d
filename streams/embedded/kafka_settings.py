"""How the embedded Kafka is set: one node, small, quick to start, forgiving to tests."""

from collections.abc import Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"
COORDINATORS = 4

# Only the first of Java's two compilers: this broker lives for minutes beside its clients, on two cores perhaps, and
# the second compiler eats what it gains. For 7.5 M records of 200 bytes in and out, 300 transactions and the start:
# 9.0 s of CPU with the first, 13.1 s with both, which lead (0.84 against 1.0 s per 1.5 M) only after 6 M records;
# 5.9 against 8.5 ms a transaction; 235 against 277 MB. Other collectors: no rate gained, Parallel 283 MB, G1 349 MB.
# A heap of 128 MB instead of 256 MB saves 28 MB in all.
JVM_FLAGS = (
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
    # One node: nothing to replicate to.
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # The defaults (50) make a start and a first transaction slower, for a parallelism that one node does not have.
    "offsets.topic.num.partitions": COORDINATORS,
    "transaction.state.log.num.partitions": COORDINATORS,
    "share.coordinator.state.topic.num.partitions": 1,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    # In the heap, whatever its size: 128 MB by default. 8 MB compact 300 k keys in one pass.
    "log.cleaner.dedupe.buffer.size": 8 << 20,
    # A misspelt topic is an error, not a new topic with one partition.
    "auto.create.topics.enable": "false",
    # Replayed history has old timestamps; retention by time would delete it at once.
    "log.retention.ms": -1,
    # A broker that was killed is admitted again when its session has run out, and not before (11.8 s to start with the
    # default of 9 s, 4 s with this). The controller is in the same process: its heartbeats are not lost on a network.
    "broker.session.timeout.ms": 2_000,
    "broker.heartbeat.interval.ms": 250,
    # Waits for further members; nobody here needs it.
    "group.initial.rebalance.delay.ms": 0,
    # Tests of a crashed member ask for timeouts shorter than a cluster should allow.
    "group.min.session.timeout.ms": 500,
    "group.consumer.min.session.timeout.ms": 500,
    "group.consumer.min.heartbeat.interval.ms": 100,
    # A transaction left by a crash holds back readers until this look finds it timed out; 10 s by default.
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

    Real ports are given on the command line (``--override``), so the text is the same for every start in a folder: a
    second broker, refused a moment later, leaves the first one's file as it was.
    """
    lines = [f"{key}={value}" for key, value in SETTINGS.items()]
    lines += listeners(port=9092, controller_port=9093)
    lines.append(f"log.dirs={_java_escaped(data)}")
    return "\n".join([*lines, ""])


def listeners(*, port: int, controller_port: int) -> list[str]:
    """Where Kafka listens, as ``key=value``; the clients' port and that of its own controller, on the loopback."""
    return [
        f"listeners=PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        f"advertised.listeners=PLAINTEXT://{LOOPBACK}:{port}",
        # A fixed voter, so the controller may listen elsewhere after each start.
        f"controller.quorum.voters=1@{LOOPBACK}:{controller_port}",
    ]


def _java_escaped(path: Path) -> str:
    # java.util.Properties reads Latin-1 and takes a backslash for an escape.
    units = memoryview(str(path).encode("utf-16-be")).cast("B")
    codes = [units[at] << 8 | units[at + 1] for at in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 and code != ord("\\") else f"\\u{code:04x}" for code in codes)
