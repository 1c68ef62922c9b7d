"""The embedded system under a small steady load: what its processes take after the warm-up, and whether it grows.

`python -m tests.soak --minutes 60` starts what `clickfold up` starts, prints for each process the slope of memory, file
descriptors, threads and disk, and ends with code 1 when memory or disk grow by more than 5 % of the warm level in an
hour, or descriptors or threads at all. A third of the time is warm-up. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from streams.embedded.stack import Stack
from streams.kafka.cluster import Cluster
from streams.kafka.settings import admin_settings
from tests.chaos_load import Load
from tests.soak_trends import FEWEST, Trend, trend

# State reaches its level after a few minutes, not after an hour as with the default window.
BOUNDS = ("--window", "2m", "--skew", "1s", "--lateness", "30s", "--future", "20s", "--negative-rate", "0.05")
# Topics keep records for so long in place of 7 to 30 days, or their data would grow through the whole run. A segment is
# finished after a minute, so that it can be deleted or compacted.
RETENTION = {"retention.ms": "300000", "segment.ms": "60000"}
EVERY_S = 10.0
WARM_UP = 1 / 3
# The names of the last 1,000 inserts of each table, in files begun anew every 2,000: at a small rate a level comes only
# after an hour and a half.
BOUNDED = {"deduplication_logs"}
LEAST_MINUTES = (FEWEST + 1) * EVERY_S / (1 - WARM_UP) / 60

Readings = dict[tuple[str, str], list[tuple[float, float]]]


class Soak:
    """One system in a folder, and what was read of it: (process, quantity) to (seconds since the start, value)."""

    def __init__(self, folder: Path, *, rate: int, say: Callable[[str], None]) -> None:
        self.readings: Readings = defaultdict(list)
        self._stack = Stack(folder, options={"join": BOUNDS})
        self._rate = rate
        self._say = say

    def run(self, *, minutes: float) -> None:
        """Reads for so long. Raises ProcessError when a part ends."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._stack.stop)
            self._stack.start(self._say)
            keep_shortly(self._stack.cluster)
            warehouse = stack.enter_context(contextlib.closing(self._stack.clickhouse.warehouse.connect_to_server()))
            stack.enter_context(Load(self._stack.cluster, seed=1, rate=self._rate))
            began_s = time.monotonic()
            for number in range(1, round(minutes * 60 / EVERY_S) + 1):
                time.sleep(max(0.0, began_s + number * EVERY_S - time.monotonic()))
                self._stack.check()
                parts = warehouse.query("SELECT path, active FROM system.parts").result_rows
                self._read(time.monotonic() - began_s, parts={Path(path): bool(active) for path, active in parts})

    def _read(self, at_s: float, *, parts: Mapping[Path, bool]) -> None:
        folder = self._stack.folder
        pids = {"kafka": self._stack.broker.pid, "clickhouse": self._stack.clickhouse.pid}
        pids |= {name: worker.pid for name, worker in self._stack.workers.items()}
        found = {(name, what): value for name, pid in pids.items() for what, value in process_readings(pid).items()}
        # The rows in ClickHouse grow with the events, by design, and so do the copies that merges leave for a minute.
        # Measured are their number, and the space of everything else.
        found["clickhouse", "old parts"] = sum(not active for active in parts.values())
        found["clickhouse", "disk MB"] = disk_mb(folder / "clickhouse", without=parts)
        found["kafka", "disk MB"] = disk_mb(folder / "kafka")
        # Each is an open file. They come and go by time in every partition, so they are judged as disk is.
        found["kafka", "segments"] = segments = sum(1 for _ in (folder / "kafka" / "data").rglob("*.log"))
        found["kafka", "descriptors"] -= segments
        found["state", "disk MB"] = disk_mb(folder / "state")
        found["worker logs", "disk MB"] = disk_mb(folder / "workers")
        for key, value in found.items():
            self.readings[key].append((at_s, value))
        shown = ", ".join(f"{name} {what} {value:.0f}" for (name, what), value in found.items() if what != "threads")
        self._say(f"{at_s / 60:5.1f} min: {shown}; {len(parts)} parts")

    def trends(self) -> list[Trend]:
        """How each quantity went after the warm-up."""
        return [
            trend(who, what, readings[round(len(readings) * WARM_UP) :])
            for (who, what), readings in sorted(self.readings.items())
        ]


def process_readings(pid: int) -> dict[str, float]:
    """Resident memory, file descriptors and threads of a process.

    Without the files of /proc that each thread of ClickHouse opens when it first works: threads are counted themselves.
    """
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "memory MB": int(status["VmRSS"].split()[0]) * 1_024 / 1e6,
        "descriptors": sum(1 for target in map(_target, Path(f"/proc/{pid}/fd").iterdir()) if "/task/" not in target),
        "threads": int(status["Threads"]),
    }


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # closed meanwhile
        return "/task/"


def disk_mb(folder: Path, *, without: Collection[Path] = ()) -> float:
    """The space that the files of a folder take, except in some and `BOUNDED` folders; files come and go meanwhile."""
    blocks = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(parent, name) not in without and name not in BOUNDED]
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                blocks += os.lstat(os.path.join(parent, name)).st_blocks
    return blocks * 512 / 1e6


def keep_shortly(cluster: Cluster) -> None:
    """Lets the topics of records keep five minutes, and all topics finish a segment after one."""
    client = AdminClient(admin_settings(cluster, lambda _: None))
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            name,
            incremental_configs=[
                ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
                for setting, value in RETENTION.items()
            ],
        )
        for name in client.list_topics(timeout=30).topics
        if name.startswith(cluster.prefix)
    ]
    # Where records are compacted and not deleted, `retention.ms` means nothing.
    for changed in client.incremental_alter_configs(resources).values():
        changed.result()


def table(trends: list[Trend]) -> str:
    """One line for each quantity."""
    lines = [f"{'process':12} {'quantity':12} {'level':>8} {'last':>8} {'highest':>8} {'an hour':>9} {'share':>7}"]
    lines += [
        f"{one.who:12} {one.what:12} {one.level:8.1f} {one.last:8.1f} {one.highest:8.1f} {one.slope:+9.2f} "
        f"{one.share:+7.1%}{'  GROWS' if one.grows else ''}"
        for one in trends
    ]
    return "\n".join(lines)


def main() -> int:
    """Exit code 0: nothing grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=50, help="impressions a second")
    given = parser.parse_args()
    if given.minutes < LEAST_MINUTES:
        parser.error(f"--minutes {given.minutes:g} says nothing; the least is {LEAST_MINUTES:g}")
    folder = Path(tempfile.mkdtemp(prefix="clickfold-soak-"))
    print(f"in {folder}", flush=True)
    soak = Soak(folder, rate=given.rate, say=lambda text: print(text, flush=True))
    soak.run(minutes=given.minutes)
    trends = soak.trends()
    print(table(trends))
    if any(one.grows for one in trends):
        print(f"left in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
