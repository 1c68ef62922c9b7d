"""What tests of the sink worker share: records whose sums are known, topics and a group of a test's own, a sink in a
thread."""

import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]  # not in their __all__

from schemas.errors import ClickfoldError
from schemas.outcomes import Outcome
from schemas.totals import DIMENSIONS, MEASURES, MinuteTotals
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse, Fault
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.sink.settings import Progress, SinkSettings
from streams.sink.worker import run
from streams.warehouse.client import Warehouse
from tests.factories import record_value
from tests.waiting import PATIENCE_S
from tests.whole_topics import whole_topic

HOUR_MS = 1_699_999_200_000
PARTITIONS = 3


def total(key: int, *more: int, version: int) -> MinuteTotals:
    """The version-th totals of keys, in the minute of the first; their impressions are `1000 * key + version`."""
    keys = (key, *more)
    campaigns, impressions = [f"k{one}" for one in keys], [1000 * one + version for one in keys]
    return MinuteTotals(
        minute=HOUR_MS + key % 60 * 60_000,
        join_partition=key % PARTITIONS,
        version=version,
        final=version == 5,
        dimensions=[campaigns if name == "campaign_id" else [""] * len(keys) for name in DIMENSIONS],
        measures=[impressions if name == "impressions" else [0] * len(keys) for name in MEASURES],
    )


def click(number: int) -> Outcome:
    """The click of one impression, costing its number."""
    return Outcome(
        kind="click",
        impression_id=f"i{number}",
        join_partition=number % PARTITIONS,
        click_id=f"c{number}",
        click_ts=HOUR_MS + number,
        delay_ms=number,
        ts=HOUR_MS,
        campaign_id="k1",
        price_micros=number,
    )


class Setting:
    """One test's topics, group and database."""

    def __init__(self, broker: Broker, server: ClickHouse, database: str, prefix: str) -> None:
        self.settings = SinkSettings(
            cluster=Cluster(broker.bootstrap, prefix=prefix),
            warehouse=Warehouse(server.url, database),
            group=f"{prefix}sink",
            roles=("totals", "outcomes", "rejects"),
            batch_rows=500,
            batch_s=0.05,
            most_rows_held=2_000,
            # A killed member is missed after this long; ends of quiet partitions are known soon.
            session_timeout_ms=1_500,
            fetch_wait_ms=20,
        )
        self.admin = AdminClient(client_settings(Cluster(broker.bootstrap)))
        self.producer = Producer(
            client_settings(Cluster(broker.bootstrap), **EXACT_DELIVERY, transactional_id=f"{prefix}test")
        )
        topics = [NewTopic(prefix + role, PARTITIONS, 1) for role in self.settings.roles]
        for made in self.admin.create_topics(topics).values():
            made.result()
        self.producer.init_transactions()

    def topic(self, role: str) -> str:
        """Full name of a role's topic."""
        return self.settings.cluster.topic(role)

    def send(self, role: str, records: Sequence[object], *, commit: bool = True) -> None:
        """Writes records in one transaction, the n-th into partition n modulo 3, and commits or aborts it."""
        self.producer.begin_transaction()
        for number, record in enumerate(records):
            value = record if isinstance(record, bytes) else record_value(record)
            self.producer.produce(self.topic(role), value, partition=number % PARTITIONS)
        if commit:
            self.producer.commit_transaction()
        else:
            # Into the log first: the aborted records are there for a reader who does not look.
            self.producer.flush()
            self.producer.abort_transaction()

    def committed(self, role: str) -> list[int]:
        """The group's offset in each partition of a topic."""
        places = [TopicPartition(self.topic(role), partition) for partition in range(PARTITIONS)]
        request = ConsumerGroupTopicPartitions(self.settings.group, places)
        answer = self.admin.list_consumer_group_offsets([request])[self.settings.group].result()
        return [place.offset for place in answer.topic_partitions]

    def ends(self, role: str) -> list[int]:
        """The offset behind the last record or marker of each partition of a topic."""
        places = {TopicPartition(self.topic(role), at): OffsetSpec.latest() for at in range(PARTITIONS)}  # type: ignore[no-untyped-call]  # no types
        answers = self.admin.list_offsets(places)
        return [answers[place].result().offset for place in sorted(answers, key=lambda place: place.partition)]

    def values(self, role: str) -> list[bytes]:
        """Everything committed to a topic so far."""
        return [message.value() or b"" for message in whole_topic(self.settings.cluster, role, PARTITIONS)]

    @contextmanager
    def sink(self, **changes: Any) -> Iterator[Progress]:
        """A sink in a thread, stopped at the end; what it raised is raised there."""
        settings, stop, progress = replace(self.settings, **changes), threading.Event(), Progress()
        raised: list[ClickfoldError] = []

        def work() -> None:
            try:
                run(settings, stop, progress)
            except ClickfoldError as failure:
                raised.append(failure)
                # Whoever waits for progress must not wait for ever.
                progress.partitions, progress.lag = -1, 0

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield progress
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        if raised:
            raise raised[0]


def impressions(database: Client) -> dict[str, int]:
    """Impressions by campaign, as the view has them."""
    return {row[0]: row[1] for row in database.query("SELECT campaign_id, impressions FROM minutes").result_rows}


def raw_rows(database: Client, table: str) -> int:
    """Rows in a table, versions and copies included; 0 while there is no table."""
    if not int(str(database.command(f"EXISTS TABLE {table}"))):
        return 0
    return int(database.query(f"SELECT count() FROM {table}").result_rows[0][0])


def strikes_left(server: ClickHouse) -> int:
    """How often the ordered faults will strike yet."""
    with urllib.request.urlopen(f"{server.url}/-/faults") as answer:
        return sum(fault.times for fault in msgspec.json.decode(answer.read(), type=list[Fault]))
