"""A system that 0.1.0 left is moved to this version: nothing decided twice, all figures go on."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer

from schemas.clickhouse.migrations import migrate
from schemas.codec import decode
from schemas.outcomes import Outcome
from schemas.totals import Ledger
from streams.embedded.stack import Stack
from streams.kafka.cluster import Cluster
from streams.kafka.groups import GroupOffsets
from streams.kafka.reads import read_log
from streams.kafka.settings import group_member_settings
from tests.former.write import COUNT, OPTIONS, PARTITIONS, produce
from tests.waiting import PATIENCE_S, eventually

FORMER = Path(__file__).parent.parent / "former" / "former.tar.xz"
INPUTS = ("impressions", "clicks")
JOIN = ["--window", "10m"]


class Moved:
    """The system of the archive with its Kafka and ClickHouse running; `clickfold` runs commands against it."""

    def __init__(self, folder: Path) -> None:
        with tarfile.open(FORMER) as archive:
            archive.extractall(folder, filter="data")
        self.stack = Stack(folder, partitions=PARTITIONS, options=OPTIONS)
        self.stack.broker.start()
        self.stack.clickhouse.start()

    @property
    def cluster(self) -> Cluster:
        return self.stack.cluster

    def clickfold(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.broker.bootstrap,
            "CLICKHOUSE_URL": self.stack.clickhouse.url,
            "CLICKHOUSE_USER": self.stack.clickhouse.warehouse.user,
            "CLICKHOUSE_PASSWORD": self.stack.clickhouse.warehouse.password,
            "CLICKFOLD_STATE_DIR": str(self.stack.folder / "state"),
        }
        command = [sys.executable, "-m", "streams.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def outcomes(self) -> Counter[tuple[str, str | None, int | None]]:
        """How often each decision was written: kind, click or impression, time of the impression."""
        values = [decode(record.value or b"", Outcome) for record in read_log(self.cluster, "outcomes", 0)]
        return Counter((each.kind, each.click_id or each.impression_id, each.ts) for each in values)

    def rejected(self) -> Counter[bytes]:
        return Counter(record.value or b"" for record in read_log(self.cluster, "rejects", 0))

    def ledgers(self) -> list[Ledger]:
        """The last ledger of each partition."""
        return [
            decode(read_log(self.cluster, "ledger", partition)[-1].value or b"", Ledger)
            for partition in range(PARTITIONS)
        ]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Moved]:
    """The system as 0.1.0 left it."""
    system = Moved(tmp_path)
    yield system
    system.stack.stop()


def test_a_system_of_the_version_before_is_moved_at_its_cut_and_decides_nothing_twice(system: Moved) -> None:
    offsets = GroupOffsets(system.cluster, "ads.join", INPUTS)
    before = offsets.commits(PARTITIONS)
    decided, refused, ledgers = system.outcomes(), system.rejected(), system.ledgers()
    assert min(each.open for each in ledgers) > 10
    assert sum(each.impressions.rejected for each in ledgers) > 20

    refusal = system.clickfold("worker", "join", *JOIN)
    assert refusal.returncode == 2
    assert "clickfold upgrade" in refusal.stderr

    wrong = system.clickfold("upgrade", "--window", "30m")
    assert wrong.returncode == 2
    assert "options" in wrong.stderr
    # Users do not stop meanwhile.
    load = threading.Thread(target=produce_slowly, args=(system.stack.broker.bootstrap,), daemon=True)
    load.start()
    dry = system.clickfold("upgrade", "--dry-run", *JOIN)
    assert dry.returncode == 0, dry.stderr
    assert "would move partition 0" in dry.stdout
    assert offsets.commits(PARTITIONS) == before

    done = system.clickfold("upgrade", *JOIN)
    assert done.returncode == 0, done.stderr
    after = offsets.commits(PARTITIONS)
    assert {number: commit.offsets for number, commit in after.items()} == {
        number: commit.offsets for number, commit in before.items()
    }
    again = system.clickfold("upgrade", *JOIN)
    assert "of this version already" in again.stdout

    with closing(system.stack.clickhouse.warehouse.connect_to_server()) as client:
        migrate(client, database="ads")
        shown_before = shown(client)
    system.stack.start(lambda _: None)
    load.join(PATIENCE_S)

    def read() -> int:
        return sum(each.impressions.consumed for each in system.ledgers())

    eventually(read, equals=2 * COUNT)
    system.stack.workers["join"].kill()
    system.stack.start(lambda _: None)
    eventually(lambda: min(each.clicks_watermark_ms for each in system.ledgers()) > 0)
    checked = system.clickfold("verify", *JOIN, "--wait", "60s")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    outcomes = system.outcomes()
    assert not decided - outcomes
    assert max(outcomes.values()) == 1
    assert not refused - system.rejected()
    assert max(system.rejected().values()) == 1
    last = system.ledgers()
    assert [each.imbalance() for each in last] == [""] * PARTITIONS
    assert sum(each.lost_impressions + each.lost_clicks for each in last) == 0
    counted = sum(each.impressions.accepted for each in last), sum(each.billable for each in last)
    with closing(system.stack.clickhouse.warehouse.connect_to_server()) as client:
        eventually(lambda: shown(client), equals=counted)
        # The gate has filled the history from what the topic of campaigns holds.
        names = "SELECT campaign_id, number, version FROM ads.campaign_history ORDER BY ALL"
        assert client.query(names).result_rows == [(f"c{number}", 1, 1) for number in range(3)]
    assert counted > shown_before


def produce_slowly(bootstrap: str) -> None:
    """As many impressions as there are already, over 20 s."""
    for first in range(COUNT, 2 * COUNT, 20):
        produce(bootstrap, first, first + 20)
        time.sleep(20 * 20 / COUNT)


def shown(client: Client) -> tuple[int, int]:
    """Impressions and billable clicks as ClickHouse answers."""
    row = client.query("SELECT sum(impressions), sum(clicks) FROM ads.minutes").first_row
    assert row is not None
    return int(row[0]), int(row[1])


def test_a_group_with_members_is_not_moved(system: Moved) -> None:
    with closing(Consumer(group_member_settings(system.cluster, group="ads.join", instance_id="one"))) as member:
        member.subscribe(["ads.impressions"])
        eventually(lambda: member.consume(1, 0.5) or member.assignment())
        refused = system.clickfold("upgrade", *JOIN)
    assert refused.returncode == 2
    assert "stop its workers" in refused.stderr
