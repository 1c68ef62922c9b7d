"""Refused records all the way to the figures: mended, redriven although late, replayed, compared and promoted."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer

from schemas.bounds import JoinBounds
from schemas.rejects import Reason, Redriven
from schemas.totals import MINUTE_MS
from streams.embedded.broker import Broker
from streams.embedded.clickhouse import ClickHouse
from streams.kafka.admin import REPLAYED, Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import EXACT_DELIVERY, client_settings
from streams.redrive.letters import Letters, redriven
from streams.runs.record import known_run
from tests.factories import T0, click_json, impression_json
from tests.ingesting import MAPPING, click, view
from tests.integration.test_backfill import JOINED, Setting
from tests.integration.test_join_worker import PARTITIONS, folded, produce, produced, start_worker
from tests.waiting import PATIENCE_S, eventually

pytestmark = [pytest.mark.broker, pytest.mark.clickhouse]
T0_S = T0 // 1_000
SECONDS = 180
# Of records without `ad.cost`.
MENDED = MAPPING.replace('"ad.cost"', '["ad.cost", "cost"]')
REFUSED_BY_MAPPING, UNDER_ANOTHER_KEY = 40, 20


class System(Setting):
    """All workers that bring a record of the source to ClickHouse."""

    def clickfold(self, *words: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "streams.cli", *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def redrive(self, *words: str) -> dict[str, Any]:
        command = ("rejects", "redrive", "--map", str(self.folder / "mended.toml"), "--lateness", "5s", "--json")
        found: dict[str, Any] = orjson.loads(self.clickfold(*command, *words))
        return found

    @contextmanager
    def worker(self, kind: str, *options: str) -> Iterator[None]:
        command = [sys.executable, "-m", "streams.cli", "worker", kind, *options]
        with (self.folder / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0

    def settled(self) -> None:
        """Waits until the join has read all there is."""
        eventually(lambda: folded(self.cluster) == produced(self.cluster), what="the join")

    def letters(self) -> Counter[Reason]:
        return Counter(letter.reason for letter in Letters(self.cluster))

    def shown(self) -> dict[int, tuple[int, ...]]:
        """Impressions, clicks and spend of each minute, as the views show them."""
        sql = (
            "SELECT 1000 * toUnixTimestamp(minute), sum(impressions), sum(clicks), sum(spend_micros) FROM minutes "
            "GROUP BY minute"
        )
        return {row[0]: tuple(row[1:]) for row in self.database.query(sql).result_rows}

    def true(self, lateness_ms: int) -> dict[int, tuple[int, ...]]:
        """The same by the oracle over all that is in Kafka."""
        bounds = JoinBounds(window_ms=30_000, skew_ms=1_000, lateness_ms=lateness_ms, negative_rate=0.3)
        sums: dict[int, Counter[str]] = {}
        for judged in self.truths(bounds, ended=True):
            for key, row in judged.totals.items():
                sums.setdefault(key[0], Counter()).update(row)
        return {at: (row["impressions"], row["clicks"], row["spend_micros"]) for at, row in sums.items()}


@pytest.fixture
def system(broker: Broker, topic_prefix: str, clickhouse: ClickHouse, ads: Client, tmp_path: Path) -> Iterator[System]:
    """Live work that has refused records of a source by a mapping, and records under another key; then time went on."""
    cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
    admin = Admin(cluster)
    admin.create(partitions=PARTITIONS, input_config=REPLAYED)
    source = f"{topic_prefix}shop"
    admin.create_topic(source, partitions=1, config={})
    for name, text in (("m", MAPPING), ("mended", MENDED)):
        (tmp_path / f"{name}.toml").write_text(text)
    (tmp_path / "state").mkdir()
    made = System(cluster, clickhouse, ads, tmp_path)
    with ExitStack() as stack:
        refuse(cluster, source)
        stack.enter_context(made.worker("ingest", "--source", f"{source}={tmp_path / 'm.toml'}"))
        stack.enter_context(made.worker("sink", "--batch-s", "0.1"))
        join = start_worker(cluster, tmp_path / "state")
        stack.callback(join.wait, PATIENCE_S)
        stack.callback(join.terminate)
        eventually(lambda: made.letters()[Reason.MAPPING], equals=REFUSED_BY_MAPPING, what="ingest")
        # Not before what ingest writes: it would all be late.
        random = Random(29)
        for start in range(0, SECONDS, 60):
            produce(cluster, random, range(start, start + 60))
            made.settled()
        yield made


def refuse(cluster: Cluster, source: str) -> None:
    """Sends what is refused, each with a click that is not, and some that is taken."""
    producer = Producer(client_settings(cluster, **EXACT_DELIVERY, partitioner="murmur2_random"))
    for number in range(REFUSED_BY_MAPPING):
        at = T0_S + number
        bad = view(number, at=at, cost="0.25", ad={"campaign": "c1", "banner": "b"})
        for value in (bad, click(number, at=at + 2), view(1_000 + number, at=at)):
            producer.produce(source, orjson.dumps(value), "any", timestamp=1_000 * at)
    for number in range(UNDER_ANOTHER_KEY):
        name, ts = f"astray{number}", T0 + 1_000 * number
        producer.produce(cluster.topic("impressions"), impression_json(name, ts), f"key {number}", timestamp=ts)
        producer.produce(cluster.topic("clicks"), click_json(f"k-{name}", name, ts + 900), name, timestamp=ts + 900)
    assert producer.flush(PATIENCE_S) == 0


def test_refused_records_are_mended_redriven_replayed_and_promoted_to_the_truth_each_once(system: System) -> None:
    refused = REFUSED_BY_MAPPING + UNDER_ANOTHER_KEY
    live = system.true(5_000)
    found = system.redrive()
    assert found["sent"] == {}
    of_source = [each for each in found["older"] if each["spot"].startswith(f"{system.cluster.prefix}shop")]
    assert len(of_source) == REFUSED_BY_MAPPING

    first = system.redrive("--older")
    assert first["sent"] == {"impressions": refused}
    system.settled()
    # They are late where they were sent to: that is no reason to send them again.
    late = system.letters()[Reason.LATE]
    assert late >= refused
    for more in ([], ["--reason", "late"]):
        again = system.redrive("--older", *more)
        assert again["sent"] == {}
    system.settled()
    assert system.letters()[Reason.LATE] == late
    assert len(sent := list(redriven(system.cluster))) == len({identity(each) for each in sent}) == refused
    # Nothing that was decided has changed.
    assert system.true(5_000) == live

    lateness_s = max(-(-each["needs_ms"] // 1_000) for each in first["older"])
    options = [*JOINED, "--lateness", f"{lateness_s}s", "--live-lateness", "5s", "--complete"]
    system.clickfold("backfill", "--run", "mended", *options)
    record = known_run(system.database, "mended")
    true = system.true(1_000 * lateness_s)
    assert sum(row[0] for row in true.values()) >= sum(row[0] for row in live.values()) + refused
    assert system.assert_equals(record, system.truths(bounds_of(lateness_s), ended=True)) > 100
    # It has what live work refused.
    assert "differ" in system.clickfold("compare", "mended", code=1)

    minutes = (T0 // MINUTE_MS * MINUTE_MS, (T0 + 1_000 * SECONDS) // MINUTE_MS * MINUTE_MS)
    eventually(lambda: system.clickfold("promote", "mended", "--minutes", "all"), lambda said: "promoted: run" in said)
    shown = system.shown()
    promoted = {at: row for at, row in shown.items() if at in range(minutes[0], minutes[0] + 2 * MINUTE_MS)}
    assert promoted == {at: true[at] for at in promoted}
    assert len(promoted) == 2
    assert all(true[at] > live[at] for at in (minutes[0],))

    # All of it once more changes nothing.
    assert "is complete already" in system.clickfold("backfill", "--run", "mended", *options)
    system.clickfold("promote", "mended", "--minutes", "all")
    assert system.redrive("--older")["sent"] == {}
    assert {at: row for at, row in system.shown().items() if at in promoted} == promoted


def bounds_of(lateness_s: int) -> JoinBounds:
    return JoinBounds(window_ms=30_000, skew_ms=1_000, lateness_ms=1_000 * lateness_s, negative_rate=0.3)


def identity(each: Redriven) -> tuple[str, int, int, str]:
    return each.topic, each.partition, each.offset, each.input
