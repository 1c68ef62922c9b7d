"""The settings of every Kafka client: one function for each purpose, all built on `client_settings`.

confluent-kafka's clients are made as `Consumer(reader_settings(cluster))`; only callbacks are given beside that. A test
holds every client of the code base to it. `streams.kafka.faust_settings` says the same to Faust's client, aiokafka.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaError

from streams.kafka.cluster import Cluster

# How long the coordinator lets a transaction live whose producer is gone.
TRANSACTION_TIMEOUT_MS: Final = 15_000
# How long a group waits for a member that is silent.
SESSION_TIMEOUT_MS: Final = 10_000
# How the members of the groups of join, learn and sink share partitions out.
ASSIGNOR: Final = "cooperative-sticky"
# librdkafka's own defaults: how often a member shows that it is alive, and how long a broker waits for more records
# before it answers a fetch.
_HEARTBEAT_MS: Final = 3_000
FETCH_WAIT_MS: Final = 500
# How the join reads, in bulk; the benchmark's bare consumer does the same.
_BULK_FETCH: Final[dict[str, Any]] = {
    "isolation_level": "read_committed",
    "fetch_wait_max_ms": 20,
    # By default a full queue is filled again only after 1 s: a worker that keeps up would wait for that.
    "fetch_queue_backoff_ms": 10,
    "max_partition_fetch_bytes": 4 << 20,
    "queued_min_messages": 100_000,
    "queued_max_messages_kbytes": 128 << 10,
}
_BATCHES: Final[dict[str, Any]] = {
    "linger_ms": 20,
    "batch_size": 1 << 20,
    # Java's. Users' producers, Faust and clickfold must agree on the partition of a key; librdkafka's own default
    # would part an impression from the clicks of a Java producer.
    "partitioner": "murmur2_random",
}

# A batch that Kafka refuses for the moment (the partition has just been made, or its leader moves) is sent again.
# Meanwhile Kafka takes a later batch of a producer that is new to the partition, whatever its number. librdkafka (2.16)
# then takes the refused batch for delivered: acknowledged, committed, and lost. With one request at a time to each
# broker no later batch is under way.
EXACT_DELIVERY: Final[dict[str, Any]] = {"enable_idempotence": True, "max_in_flight_requests_per_connection": 1}

# An AdminClient of librdkafka (2.16) gives up a request to a group's coordinator after its timeout. If the coordinator
# comes back after that, the process ends with a failed assertion. So these requests get the longest timeout there is,
# and who asks waits a shorter time for the answer.
LONGEST_REQUEST_S: Final = 3_600.0


def client_settings(cluster: Cluster, **more: Any) -> dict[str, Any]:
    """What every client has: address, security, and what the user passes on, which wins over our own tuning.

    `more` are librdkafka's settings with `_` in place of `.`.
    """
    named = {name.replace("_", "."): value for name, value in more.items()}
    # librdkafka would write a line to stderr at each of twenty tries a second; errors reach us as errors anyway.
    quiet = {"log_level": 0, "reconnect.backoff.ms": 200}
    return {"bootstrap.servers": cluster.bootstrap, **quiet, **cluster.security, **named, **cluster.passed}


# ---- consumers: librdkafka wants a group of each, also of those that never join one ---------------------------------


def group_member_settings(
    cluster: Cluster, *, group: str, instance_id: str | None, client_id: str | None = None
) -> dict[str, Any]:
    """A worker that joins a group and commits in transactions. It reads by another client, see `kafka/reader.py`.

    With an `instance_id` the group keeps its partitions for it while it restarts. A pod that has another name each time
    never comes back; the group would wait for it until the session times out.
    """
    return client_settings(
        cluster,
        group_id=group,
        **({"group_instance_id": instance_id} if instance_id is not None else {}),
        **({"client_id": client_id} if client_id is not None else {}),
        enable_auto_commit=False,
        partition_assignment_strategy=ASSIGNOR,
        session_timeout_ms=SESSION_TIMEOUT_MS,
    )


def sink_member_settings(
    cluster: Cluster,
    *,
    group: str,
    skip_lost: bool,
    session_timeout_ms: int = SESSION_TIMEOUT_MS,
    fetch_wait_ms: int = FETCH_WAIT_MS,
) -> dict[str, Any]:
    """A sink worker, which commits once ClickHouse has acknowledged. With `skip_lost` a group whose offsets are no
    longer in Kafka goes on at the first record that is; without it the consumer reports an error."""
    return client_settings(
        cluster,
        group_id=group,
        session_timeout_ms=session_timeout_ms,
        heartbeat_interval_ms=min(_HEARTBEAT_MS, session_timeout_ms // 3),
        fetch_wait_max_ms=fetch_wait_ms,
        # The largest share of memory beside the rows held.
        queued_max_messages_kbytes=32_768,
        # As for the join; with librdkafka's 1 s the sink took 97,000 rows/s, with this 111,000 and more.
        fetch_queue_backoff_ms=10,
        isolation_level="read_committed",
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        enable_partition_eof=True,
        auto_offset_reset="earliest" if skip_lost else "error",
        partition_assignment_strategy=ASSIGNOR,
    )


def group_offsets_settings(cluster: Cluster, group: str, *, isolation_level: str = "read_committed") -> dict[str, Any]:
    """A client that asks for a group's offsets and never joins it.

    With read_committed the answer waits for transactions that are open on the offsets.
    """
    return client_settings(cluster, group_id=group, enable_auto_commit=False, isolation_level=isolation_level)


def bounds_settings(cluster: Cluster) -> dict[str, Any]:
    """A client that only asks where logs begin and end.

    The end is behind all records, those of open transactions included. A client that reads committed records, which is
    librdkafka's default, gets the offset of the first open transaction instead: an input with one would look read to
    its end.
    """
    return client_settings(
        cluster, group_id="clickfold-meter", enable_auto_commit=False, isolation_level="read_uncommitted"
    )


def reader_settings(cluster: Cluster, *, ends: bool = True, queued_kbytes: int = 65_536) -> dict[str, Any]:
    """A reader of whole partitions. With `ends` it reports the end of each partition as an event.

    What was fetched ahead takes up to `queued_kbytes` and one answer of Kafka; by default as much as librdkafka's.
    """
    return client_settings(
        cluster,
        group_id="clickfold-read-only",
        enable_auto_commit=False,
        isolation_level="read_committed",
        enable_partition_eof=ends,
        auto_offset_reset="earliest",
        fetch_wait_max_ms=10,
        queued_max_messages_kbytes=queued_kbytes,
    )


def follower_settings(cluster: Cluster) -> dict[str, Any]:
    """A reader of whole partitions that then waits for what follows. It reports the end of each partition."""
    return {**reader_settings(cluster), "fetch.wait.max.ms": FETCH_WAIT_MS, **cluster.passed}


def bulk_reader_settings(cluster: Cluster, *, ends: bool = True) -> dict[str, Any]:
    """A reader of many records, from given offsets, which Kafka must have: a worker, or a backfill."""
    return client_settings(
        cluster,
        group_id="clickfold-reader",
        enable_auto_commit=False,
        auto_offset_reset="error",
        enable_partition_eof=ends,
        **_BULK_FETCH,
    )


# ---- producers -----------------------------------------------------------------------------------------------------


def transactional_producer_settings(cluster: Cluster, transactional_id: str) -> dict[str, Any]:
    """A worker's producer of outputs and offsets."""
    return client_settings(
        cluster,
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        queue_buffering_max_messages=1_000_000,
        queue_buffering_max_kbytes=512 << 10,
        compression_type=cluster.compression,
        **EXACT_DELIVERY,
        **_BATCHES,
    )


def bulk_producer_settings(cluster: Cluster, *, queued_messages: int) -> dict[str, Any]:
    """A producer of whole loads of records, with a bounded queue. It reports only records that were not delivered:
    a million callbacks into Python would take longer than the sending."""
    return client_settings(
        cluster,
        queue_buffering_max_messages=queued_messages,
        queue_buffering_max_kbytes=128 << 10,
        delivery_report_only_error=True,
        # Events that only workers read, and those know every codec.
        compression_type="lz4",
        **EXACT_DELIVERY,
        **_BATCHES,
    )


def pacing_producer_settings(cluster: Cluster) -> dict[str, Any]:
    """The pacing worker's producer of rows and decisions. It reports only records that were not delivered."""
    return client_settings(
        cluster, linger_ms=5, compression_type=cluster.compression, delivery_report_only_error=True, **EXACT_DELIVERY
    )


def prompt_producer_settings(cluster: Cluster) -> dict[str, Any]:
    """A producer as an ad server has one: batches of a few milliseconds, keyed as Java's."""
    return client_settings(
        cluster, linger_ms=5, partitioner="murmur2_random", delivery_report_only_error=True, **EXACT_DELIVERY
    )


def letter_producer_settings(cluster: Cluster) -> dict[str, Any]:
    """The sink's producer of dead letters: few records, each confirmed."""
    return client_settings(cluster, compression_type=cluster.compression, **EXACT_DELIVERY)


# ---- others --------------------------------------------------------------------------------------------------------


def preparing_member_settings(cluster: Cluster) -> dict[str, Any]:
    """A member of a group while Kafka's classes are prepared, see `streams.embedded.prepared_classes`."""
    return client_settings(cluster, group_id="prepare", auto_offset_reset="earliest")


def admin_settings(cluster: Cluster, on_error: Callable[[KafkaError], None]) -> dict[str, Any]:
    """A client that lists, describes and creates topics. Calls `on_error`, when it is polled, with the errors of its
    connections, which no answer carries: a request that found no connection is only late."""
    return {**client_settings(cluster, socket_timeout_ms=5_000), "error_cb": on_error}


def starting_broker_settings(bootstrap: str) -> dict[str, Any]:
    """A client that waits for a broker on this machine to start: it connects again every 0.1 s."""
    return client_settings(Cluster(bootstrap), reconnect_backoff_ms=100, reconnect_backoff_max_ms=100)
