"""`clickfold bench recovery`: how long a killed join worker takes to be live again, and the size of its state."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from streams.cli.bench.measuring import memory_mb
from streams.cli.bench.reporting import progress_bar
from streams.cli.commands.options import whole_numbers
from streams.cli.connections import cluster_to_measure
from streams.cli.render.sources import Samples, fetch
from streams.embedded.ports import free_port
from streams.embedded.process import Process
from streams.embedded.stack import answers
from streams.inputs.traffic import Traffic, fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster

# Every impression stays open: 19 minutes of them, with clicks up to 10 minutes later, are less than the window of 30.
_SPAN_MS = 19 * 60_000
# A worker folds at least 100,000 events a second: ten million take 100 s. One that takes 900 s is stuck.
_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Recovered:
    """Figures for one number of open impressions.

    `ready_s` and `rebuild_s` are from the start of the process until every partition is live: with its checkpoints, and
    without them. `rss_mb` is before the kill, `rss_after_mb` after the start that follows.
    """

    open_impressions: int
    state_mb: float
    rss_mb: float
    peak_rss_mb: float
    checkpoint_mb: float
    ready_s: float
    replayed_records: int
    rss_after_mb: float
    rebuild_s: float


def recovery(
    sizes: Annotated[
        str, typer.Option("--open", help="Numbers of open impressions, separated by commas.")
    ] = "1000000,3000000,10000000",
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Also time a start without checkpoints.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Kill a join worker that has this many open impressions: seconds until it is live again, memory, disk space."""
    console = Console(stderr=True, quiet=json)
    measured = []
    for size in whole_numbers("--open", sizes):
        with (
            tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder,
            cluster_to_measure(Path(folder)) as cluster,
        ):
            measured.append(_measure(cluster, Path(folder), size, partitions, console, rebuild=rebuild))
    if json:
        typer.echo(orjson.dumps([asdict(figures) for figures in measured]))
    else:
        Console(width=120).print(_table(measured))


def _measure(
    cluster: Cluster, folder: Path, size: int, partitions: int, console: Console, *, rebuild: bool
) -> Recovered:
    Admin(cluster).create(partitions=partitions)
    with progress_bar(console, f"{size:,} impressions into Kafka", size) as show:
        end_ms = int(time.time() * 1_000)
        traffic = Traffic(impressions=size, seed=7, end_ms=end_ms, span_ms=_SPAN_MS)
        fill(cluster, traffic, progress=lambda sent, _: show(sent))
    worker = _Worker(cluster, folder)
    worker.start()
    with progress_bar(console, "joined", size) as show:

        def joined(now: Samples) -> bool:
            show(now.total("clickfold_open_impressions") or 0)
            return now.total("clickfold_lag_records") == 0

        worker.wait(joined)
    console.print("waiting for a checkpoint of every partition …")
    checkpoints = worker.samples().total("clickfold_checkpoints_total") or 0
    worker.wait(lambda now: (now.total("clickfold_checkpoints_total") or 0) >= checkpoints + 2 * partitions)
    # A worker gives freed memory back to the system every ten seconds.
    time.sleep(12.0)
    before, (rss_mb, peak_mb) = worker.samples(), worker.memory_mb()
    worker.process.kill()
    checkpoint_bytes = sum(path.stat().st_size for path in worker.state_dir.rglob("*") if path.is_file())
    console.print("killed; starting again …")
    ready_s = worker.start()
    after, (rss_after_mb, _) = worker.samples(), worker.memory_mb()
    worker.process.kill()
    rebuild_s = 0.0
    if rebuild:
        console.print("starting without its state …")
        shutil.rmtree(worker.state_dir)
        rebuild_s = worker.start()
        worker.process.kill()
    return Recovered(
        open_impressions=before.total("clickfold_open_impressions") or 0,
        state_mb=round((before.total("clickfold_state_bytes") or 0) / 1e6),
        rss_mb=round(rss_mb),
        peak_rss_mb=round(peak_mb),
        checkpoint_mb=round(checkpoint_bytes / 1e6),
        ready_s=round(ready_s, 1),
        replayed_records=after.total("clickfold_replayed_records_total") or 0,
        rss_after_mb=round(rss_after_mb),
        rebuild_s=round(rebuild_s, 1),
    )


class _Worker:
    """A join worker in a process of its own, started by the same command that users give."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.state_dir = folder / "state"
        self.process = Process(folder, "join")
        self._port = free_port()
        self._environment = {
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
            "CLICKFOLD_STATE_DIR": str(self.state_dir),
        }

    def start(self) -> float:
        """Starts the process. Gives the seconds until every assigned partition is live."""
        started_s = time.monotonic()
        command = [sys.executable, "-m", "streams.cli", "worker", "join", "--metrics-port", str(self._port)]
        self.process.start([*command, "--checkpoint", "5s"], environment=self._environment)
        self.process.wait_ready(lambda: answers(self._port, "/readyz"), bound_s=_TIMEOUT_S)
        return time.monotonic() - started_s

    def samples(self) -> Samples:
        """The metrics of the worker now."""
        return Samples(fetch(f"http://127.0.0.1:{self._port}/metrics"))

    def wait(self, condition: Callable[[Samples], bool]) -> None:
        """Waits until the metrics meet the condition. Raises ProcessError when the worker ends or it takes too long."""
        self.process.wait_ready(lambda: condition(self.samples()), bound_s=_TIMEOUT_S)

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory in MB, now and at its highest."""
        return memory_mb(self.process.pid)


def _table(measured: list[Recovered]) -> Table:
    table = Table(caption="sizes in MB; times in s from the start of the process; `replayed`: records folded again")
    heads = ("open", "state", "RSS", "peak", "on disk", "live again s", "replayed", "RSS after", "rebuilt s")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for figures in measured:
        table.add_row(*(f"{value:,}" for value in astuple(figures)))
    return table
