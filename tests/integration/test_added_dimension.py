"""An extra dimension is added to a running system: live work, the batch truth, ClickHouse and a replay agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.embedded.stack import Stack
from streams.kafka.reads import read_log
from tests.former.write import OPTIONS, PARTITIONS, produce
from tests.integration.test_upgrade import shown
from tests.waiting import eventually

JOIN = ["--window", "10m"]
HALF = 300
# The impressions of the first half end four seconds before.
CUT_MS = 1_793_492_400_000
DECLARED = '[dimensions]\nslot = { from = "features.slot", since = 2026-11-01T00:20:00Z }\n'


class Running:
    """The embedded system; `clickfold` runs commands against it."""

    def __init__(self, folder: Path) -> None:
        self.stack = Stack(folder, partitions=PARTITIONS, options=OPTIONS)
        self.stack.start(lambda _: None)

    def clickfold(self, *arguments: str, code: int = 0) -> str:
        """What a command prints."""
        warehouse = self.stack.clickhouse.warehouse
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.broker.bootstrap,
            "CLICKHOUSE_URL": self.stack.clickhouse.url,
            "CLICKHOUSE_USER": warehouse.user,
            "CLICKHOUSE_PASSWORD": warehouse.password,
            "CLICKFOLD_STATE_DIR": str(self.stack.folder / "state"),
        }
        command = [sys.executable, "-m", "streams.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def totals(self) -> tuple[int, int]:
        with closing(self.stack.clickhouse.warehouse.connect_to_server()) as client:
            return shown(client)

    def names(self, view: str) -> list[tuple[bool, str]]:
        """Of each name: whether it is from the cut-over on, and the name."""
        sql = f"SELECT DISTINCT {view[:-1]} >= toDateTime('2026-11-01 00:20:00', 'UTC') AS late, slot FROM ads.{view}"
        with closing(self.stack.clickhouse.warehouse.connect_to_server()) as client:
            rows = client.query(f"{sql} WHERE impressions > 0 ORDER BY ALL").result_rows
        return [(bool(late), str(slot)) for late, slot in rows]

    def shown_with_slot(self) -> str:
        """The id of an impression of the second half that has a slot."""
        for partition in range(PARTITIONS):
            for record in read_log(self.stack.cluster, "impressions", partition):
                event = json.loads(record.value or b"{}")
                if event.get("ts", 0) >= CUT_MS and event.get("features", {}).get("slot") is not None:
                    return str(event["impression_id"])
        raise AssertionError("no impression has a slot")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.stack.stop()


def test_a_dimension_that_is_added_splits_nothing_that_was_counted_before(system: Running, tmp_path: Path) -> None:
    declared = tmp_path / "dimensions.toml"
    declared.write_text(DECLARED)
    extra = ["--extra-dimensions", str(declared)]
    produce(system.stack.broker.bootstrap, 0, HALF)
    eventually(lambda: system.totals()[0] > 250)
    # A crash, and not a stop, at the cut.
    system.stack.workers["join"].kill()

    assert "ADD COLUMN IF NOT EXISTS `slot`" in system.clickfold("init", *extra, "--dry-run")
    made = system.clickfold("init", "--partitions", str(PARTITIONS), *extra)
    assert "MODIFY ORDER BY" in made
    assert "extra dimensions: slot; stop the join's workers, run `clickfold upgrade`" in made
    assert "nothing to add" in system.clickfold("init", *extra, "--dry-run")

    early = tmp_path / "early.toml"
    early.write_text(DECLARED.replace("00:20:00", "00:19:00"))
    refused = system.clickfold("upgrade", *JOIN, "--extra-dimensions", str(early), code=2)
    assert "slot counts since 2026-11-01T00:19:00Z, but impressions up to 2026-11-01T00:19:5" in refused
    assert "without some of these extra dimensions" in system.clickfold("worker", "join", *JOIN, *extra, code=2)
    assert "moved partition 0" in system.clickfold("upgrade", *JOIN, *extra)
    assert "are of this version already" in system.clickfold("upgrade", *JOIN, *extra)

    system.stack._options = {**OPTIONS, "join": [*OPTIONS["join"], *extra]}
    system.stack.start(lambda _: None)
    produce(system.stack.broker.bootstrap, HALF, 2 * HALF)
    eventually(lambda: system.totals()[0] > 400)
    system.stack.workers["join"].kill()
    system.stack.start(lambda _: None)
    produce(system.stack.broker.bootstrap, 2 * HALF, 2 * HALF + 20)
    eventually(lambda: system.totals()[0] > 550)

    system.clickfold("verify", *JOIN, *extra, "--wait", "60s")
    wanted = [(False, ""), *((True, str(slot)) for slot in range(4))]
    # Some impressions of the second half have no slot, or are late and from before.
    assert [each for each in system.names("minutes") if each != (True, "")] == wanted
    traced = json.loads(system.clickfold("trace", system.shown_with_slot(), *JOIN, *extra, "--json"))
    minute = next(each for each in traced["counted"] if each["of"] == "minute")
    assert minute["names"]["slot"] in set("0123")
    assert minute["row"]["impressions"] >= minute["total"]["impressions"] > 0
    assert not [said for said in traced["not_known"] if "other settings" in said]
    system.clickfold("backfill", "--run", "again", *JOIN, *extra)
    assert "differ" not in system.clickfold("compare", "again")
