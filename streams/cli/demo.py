"""`clickfold demo`: the whole system on real input, watched while it runs, and held against the truth at its end."""

from __future__ import annotations

import csv
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from schemas.errors import ClickfoldError, SettingsError
from schemas.events import Campaign
from schemas.totals import DIMENSIONS, MEASURES
from streams.admin import REPLAYED
from streams.cli import options
from streams.cli.fold import outcome_line, summed_summary
from streams.cli.live import Live
from streams.cli.sources import Sources
from streams.cli.summary import summary
from streams.cluster import read_all
from streams.embedded.feed import Feed, as_records
from streams.embedded.sample import open_bandit
from streams.embedded.stack import Stack, require_embedded
from streams.files import read_campaigns, read_jsonl
from streams.oracle import Record
from streams.sink.client import connect
from streams.verify import Check, Run

# Seven days of the sample in about a minute.
_SAMPLE_SPEED = 10_000.0
# How long the workers may take to catch up once everything is fed.
_DRAIN_S = 600.0
_SETTLE_S = 120.0
# Event time runs thousands of times faster than the clock by which silence is measured: nothing is idle here.
_NEVER_IDLE = "30d"
# Join partitions write their outcomes one after another, once a commit: up to hours of event time at this speed.
_GRACE = "24h"


@dataclass(frozen=True, slots=True)
class Input:
    """What is played: both logs in order, the campaigns, and event seconds a second (None: as fast as it goes)."""

    impressions: Iterable[Record]
    clicks: Iterable[Record]
    campaigns: Sequence[Campaign]
    speed: float | None
    first_ms: int = 0
    last_ms: int = 0


def demo(
    impressions: Annotated[Path | None, typer.Option(help="Your impressions, JSON lines, plain or .gz.")] = None,
    clicks: Annotated[Path | None, typer.Option(help="Your clicks.")] = None,
    campaigns: Annotated[Path | None, typer.Option(help="Your campaigns with their daily budgets.")] = None,
    speed: Annotated[str, typer.Option(help="Event seconds a second, or max. [default: 10000; max for files]")] = "",
    partitions: Annotated[int, typer.Option(min=1, max=64)] = 4,
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    negative_rate: options.NegativeRate = 1.0,
    export: Annotated[Path | None, typer.Option(help="Folder for outcomes.jsonl, totals.csv and ledger.json.")] = None,
) -> None:
    """Run everything on real input: Kafka, the join, a model, pacing, ClickHouse; compare all with the batch truth."""
    bounds = options.join_bounds(
        window=window, skew=skew, lateness=lateness, future="60s", dedupe="", negative_rate=negative_rate
    )
    played = _input(impressions, clicks, campaigns, speed)
    require_embedded()
    console = Console()
    # A shell that starts it in the background has Ctrl-C ignored; whoever then sends it means it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    join_options = ["--window", window, "--skew", skew, "--lateness", lateness]
    join_options += ["--negative-rate", str(negative_rate), "--idle", _NEVER_IDLE]
    given = {"join": join_options, "learn": ["--grace", _GRACE]}
    with tempfile.TemporaryDirectory(prefix="clickfold-demo-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder), partitions=partitions, options=given, input_config=REPLAYED)
        try:
            with console.status("starting …") as status:
                stack.start(status.update)
            _play(stack, played, console)
            with console.status("closing what is open …") as status:
                stack.end("join", bound_s=_DRAIN_S)
                stack.end("learn", bound_s=_DRAIN_S)
                status.update("computing the batch truth …")
                run = Run(stack.cluster, bounds, partitions=partitions, shards=1, ended=True)
                status.update("waiting for ClickHouse and pacing …")
                client = connect(stack.clickhouse.url, database="ads")
                checks = run.checks() + _settled(stack, run, client, played.campaigns)
            for part in summary(client):
                console.print(part)
            _show_ledger(run, console)
            if export is not None:
                _export(stack, run, export)
                console.print(f"exported to {export}")
            if not _show_checks(checks, console):
                raise ClickfoldError("the run differs from the batch truth, see above; please report it")
        finally:
            stack.stop()


def _input(impressions: Path | None, clicks: Path | None, campaigns: Path | None, speed: str) -> Input:
    if (impressions is None) != (clicks is None):
        raise SettingsError("only one of --impressions and --clicks is given; give both, or neither for the sample")
    if impressions is None or clicks is None:
        sample = open_bandit()
        return Input(
            _stamped(as_records(sample.impressions)),
            _stamped(as_records(sample.clicks)),
            sample.campaigns if campaigns is None else read_campaigns(campaigns),
            _speed(speed, _SAMPLE_SPEED),
            sample.impressions[0].ts,
            max(sample.impressions[-1].ts, sample.clicks[-1].ts),
        )
    return Input(
        _stamped(read_jsonl(impressions, "impressions")),
        _stamped(read_jsonl(clicks, "clicks")),
        read_campaigns(campaigns) if campaigns is not None else [],
        _speed(speed, None),
    )


def _speed(text: str, default: float | None) -> float | None:
    if not text:
        return default
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"speed is {text!r}; give event seconds a second, such as 10000, or max") from error


def _stamped(records: Iterable[Record]) -> Iterator[Record]:
    """Records of a file have no Kafka timestamp, and so no future: each is stamped with its own event time."""
    for record in records:
        try:
            ts = orjson.loads(record.value or b"")["ts"]
            stamp_ms = ts if type(ts) is int and 0 <= ts < 1 << 53 else -1
        except (orjson.JSONDecodeError, TypeError, KeyError, IndexError):
            stamp_ms = -1
        yield Record(record.offset, stamp_ms, record.key, record.value)


def _play(stack: Stack, played: Input, console: Console) -> None:
    """Feeds the input and shows the system at work until the join has read it all."""
    feed = Feed(stack.cluster, played.impressions, played.clicks, played.campaigns, speed=played.speed)
    stop = threading.Event()
    failed: list[BaseException] = []

    def run_feed() -> None:
        try:
            feed.run(stop)
        except ClickfoldError as error:
            failed.append(error)

    thread = threading.Thread(target=run_feed, name="feed", daemon=True)
    sources = Sources(
        join_metrics=stack.url("join"),
        learn_metrics=stack.url("learn"),
        sink_metrics=stack.url("sink"),
        pacing=stack.url("pace"),
        client=lambda: connect(stack.clickhouse.url, database="ads"),
    )
    thread.start()
    try:
        with Live(console, first_ms=played.first_ms, last_ms=played.last_ms) as live:
            until = time.monotonic() + _DRAIN_S
            while True:
                stack.check()
                if failed:
                    raise failed[0]
                snapshot = sources.read()
                live.update(snapshot, feed.progress)
                if feed.progress.done:
                    sent = feed.progress.impressions + feed.progress.clicks
                    if snapshot.consumed >= sent:
                        return
                    if time.monotonic() > until:
                        raise ClickfoldError(f"the join has read {snapshot.consumed} of {sent} records in {_DRAIN_S} s")
                else:
                    until = time.monotonic() + _DRAIN_S
                time.sleep(0.25)
    finally:
        stop.set()
        thread.join(5.0)


def _settled(stack: Stack, run: Run, client: Any, campaigns: Sequence[Campaign]) -> list[Check]:
    """The checks of what is written behind the join: asked again until they agree or time is up."""

    def days_of(campaign_id: str) -> dict[int, tuple[int, int, int]]:
        view = _json(f"{stack.url('pace')}/{campaign_id}")
        return {day["day_start"]: (day["impressions"], day["clicks"], day["spend_micros"]) for day in view["days"]}

    until = time.monotonic() + _SETTLE_S
    parts: list[Callable[[], list[Check]]] = [
        lambda: run.clickhouse_checks(client),
        lambda: [run.pacing_check(days_of, campaigns)],
    ]
    settled: list[Check] = []
    for part in parts:
        checks = part()
        while any(check.differing for check in checks) and time.monotonic() < until:
            stack.check(without=("join", "learn"))
            time.sleep(0.5)
            checks = part()
        settled += checks
    return settled


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return orjson.loads(answer.read())


def _show_ledger(run: Run, console: Console) -> None:
    console.print("[bold]Ledger[/bold], what became of every record:")
    for log, counts in summed_summary(run.ledgers().values()).items():
        console.print(f"  {log}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def _show_checks(checks: Sequence[Check], console: Console) -> bool:
    console.print("[bold]Against the batch truth[/bold]:")
    for check in checks:
        if check.differing:
            console.print(f"  [red]✗ {check.name}: {check.differing:,} of {check.compared:,} differ[/red]")
            for line in check.first:
                console.print(f"      {line}", markup=False)
        else:
            console.print(f"  [green]✓[/green] {check.name}: {check.compared:,} agree")
    return not any(check.differing for check in checks)


def _export(stack: Stack, run: Run, folder: Path) -> None:
    """outcomes.jsonl, totals.csv (summed over join partitions) and ledger.json (summed likewise)."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "outcomes.jsonl").open("wb") as file:
        for value in read_all(stack.cluster, "outcomes", 0):
            file.write(outcome_line(value))
    with (folder / "totals.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["minute", *DIMENSIONS, *MEASURES])
        for key, measures in sorted(run.totals().items()):
            rows.writerow([*key, *measures.values()])
    (folder / "ledger.json").write_bytes(orjson.dumps(summed_summary(run.ledgers().values())) + b"\n")
