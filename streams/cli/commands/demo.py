"""`clickfold demo`: runs the whole system on real input, shows it live, and compares its results with a batch run."""

from __future__ import annotations

import csv
import io
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from schemas.errors import ClickfoldError, SettingsError
from schemas.events import Campaign
from schemas.outcomes import SHOWN
from schemas.records import Record
from schemas.topics import DAY_MS
from schemas.totals import DIMENSIONS, MEASURES
from streams.cli.commands import options
from streams.cli.commands.fold import outcome_line, summed_summary
from streams.cli.commands.verify import show_checks
from streams.cli.mapping import Mapped, read_mapping_file
from streams.cli.render.live import Live
from streams.cli.render.refused import show_refused
from streams.cli.render.sources import Sources
from streams.cli.render.summary import summary
from streams.cli.written_file import written_file
from streams.embedded.stack import Stack, require_embedded
from streams.inputs.feed import Feed, as_records
from streams.inputs.files import FileLog, read_campaigns
from streams.inputs.given import given
from streams.inputs.left_out import LeftOut
from streams.inputs.sample import open_bandit
from streams.inputs.tally import Tally, faults, located, unusable
from streams.inputs.unmapped import with_unmapped
from streams.kafka.admin import REPLAYED
from streams.kafka.reads import read_all
from streams.verify.pacing_counters import PacingView
from streams.verify.run import Verification, VerifyRequest
from streams.verify.written import dead_letters, last_ledgers, summed_totals

# Plays the seven days of the sample in about a minute: 604,800 s / 10,000.
_SAMPLE_SPEED = 10_000.0
# How long the workers may take to read what is fed, and to end. The sample takes seconds; ten million events of a user
# take 100 s at the 100,000 events a second that a worker folds at least.
_DRAIN_S = 600.0
# How long the sink and pacing may take to reach the end of what the join wrote. They follow it within seconds.
_CATCH_UP_S = 120.0
# An idle input is found by the wall clock. Here event time runs thousands of times faster, so no input may be idle.
_NEVER_IDLE = "30d"
# In a partition the clicks of the sample are hours apart. With the usual hour each would wait for ten others, so a day.
_SAMPLE_JUMP_MS = DAY_MS
# Join partitions write outcomes at different times, once a commit: at this speed hours of event time lie between them.
_GRACE = "24h"


@dataclass(frozen=True, slots=True)
class Input:
    """What is fed: both logs in order, the campaigns, and the speed in event seconds a second, None for no limit.

    `first_ms` and `last_ms` are its first and last event time; 0 when not known beforehand.
    `logs` are the user's files by log; empty for the sample. `identity` is what a run says of their mapping.
    """

    impressions: Iterable[Record]
    clicks: Iterable[Record]
    campaigns: Sequence[Campaign]
    speed: float | None
    logs: Mapping[str, FileLog] = field(default_factory=dict)
    first_ms: int = 0
    last_ms: int = 0
    identity: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def demo(
    impressions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH…",
            parser=given,
            help="Your impressions, in any format that `fold` reads; several files are one log.",
        ),
    ] = None,
    clicks: Annotated[
        list[Path] | None, typer.Option(metavar="PATH…", parser=given, help="Your clicks.", show_default=False)
    ] = None,
    campaigns: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH…", parser=given, help="Your campaigns with their daily budgets.", show_default=False
        ),
    ] = None,
    mapping: options.MappingOption = "",
    speed: Annotated[str, typer.Option(help=f"{options.SPEED_HELP} [default: 10000; max for files]")] = "",
    partitions: Annotated[int, typer.Option(min=1, max=64, help="Partitions of the inputs.")] = 4,
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    negative_rate: options.NegativeRate = 1.0,
    export: Annotated[Path | None, typer.Option(help="Folder for outcomes.jsonl, totals.csv and ledger.json.")] = None,
) -> None:
    """Run everything on real input: Kafka, the join, a model, pacing, ClickHouse; compare all with the batch truth.

    Your files are checked first: when no record of a log can be used, nothing is started. Ends with code 3 when the
    result cannot be used, as `fold` does.
    """
    source = _input(impressions or [], clicks or [], campaigns or [], speed, read_mapping_file(mapping))
    bounds = options.join_bounds(
        window=window,
        skew=skew,
        lateness=lateness,
        future="60s",
        dedupe="",
        negative_rate=negative_rate,
        jump_ms=options.jump_ms(options.AUTO) if source.logs else _SAMPLE_JUMP_MS,
    )
    _require_usable(source.logs)
    require_embedded()
    console = Console()
    # A shell lets commands in the background ignore SIGINT. Whoever sends the signal to one wants it to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    join_options = ["--window", window, "--skew", skew, "--lateness", lateness]
    join_options += ["--negative-rate", str(negative_rate), "--jump", f"{bounds.jump_ms}ms", "--idle", _NEVER_IDLE]
    worker_options = {"join": join_options, "learn": ["--grace", _GRACE], "pace": ["--window", window]}
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-demo-", ignore_cleanup_errors=True) as folder,
        ExitStack() as cleanup,
    ):
        stack = Stack(Path(folder), partitions=partitions, options=worker_options, input_config=REPLAYED)
        cleanup.callback(stack.stop)
        with console.status("starting …") as status:
            stack.start(status.update)
        _feed(stack, source, console)
        with console.status("closing what is open …") as status:
            stack.end("join", bound_s=_DRAIN_S)
            stack.end("learn", bound_s=_DRAIN_S)
            status.update("computing the batch truth …")
            client = cleanup.enter_context(closing(stack.clickhouse.warehouse.connect()))
            checks = Verification(
                stack.cluster,
                VerifyRequest(bounds=bounds, group=stack.cluster.group("join"), ended=True, wait_s=_CATCH_UP_S),
                clickhouse=client,
                pacing=PacingView(stack.url("pace")),
                meanwhile=lambda: stack.check(without=("join", "learn")),
            ).checks()
        for part in summary(client):
            console.print(part)
        ledgers = last_ledgers(stack.cluster, range(partitions))
        counts = with_unmapped(summed_summary(ledgers.values()), source.logs)
        _show_ledger(counts, console)
        if source.logs:
            tally, left_out = located(source.logs, dead_letters(stack.cluster)), LeftOut()
            left_out.look(source.logs["impressions"].lines(), all_lines=True)
            show_refused(source.logs.values(), tally, counts, left_out=left_out)
        if export is not None:
            _export(stack, range(partitions), {**counts, **source.identity}, export)
            console.print(f"exported to {export}")
        if not show_checks(checks, console):
            raise ClickfoldError("the run differs from the batch truth as shown above; please report it")
    if source.logs and (wrong := faults(counts)):
        console.print(f"[red]✗ the result cannot be used:[/red] {'; '.join(wrong)}")
        raise typer.Exit(3)


def _input(
    impressions: Sequence[Path], clicks: Sequence[Path], campaigns: Sequence[Path], speed: str, mapped: Mapped
) -> Input:
    if bool(impressions) != bool(clicks):
        raise SettingsError("only one of --impressions and --clicks is given; give both, or neither for the sample")
    if not impressions:
        if mapped.file is not None:
            raise SettingsError("--map is given without files; give --impressions and --clicks with it")
        sample = open_bandit()
        return Input(
            _stamped(as_records(sample.impressions)),
            _stamped(as_records(sample.clicks)),
            read_campaigns(campaigns) if campaigns else sample.campaigns,
            options.event_speed(speed, _SAMPLE_SPEED),
            first_ms=sample.impressions[0].ts,
            last_ms=max(sample.impressions[-1].ts, sample.clicks[-1].ts),
        )
    logs = mapped.logs(impressions, clicks, keep=True)
    return Input(
        _stamped(logs["impressions"].records()),
        _stamped(logs["clicks"].records()),
        read_campaigns(campaigns) if campaigns else [],
        options.event_speed(speed, None),
        logs,
        identity=mapped.identity(),
    )


def _require_usable(logs: Mapping[str, FileLog]) -> None:
    """Ends with code 3, and says why, when no record of a log can be used: a run would show nothing else."""
    tally = Tally()
    refused = {log: unusable(files, tally) for log, files in logs.items()}
    if any(refused.values()):
        none = dict.fromkeys(("accepted", "late", "duplicate", "billable"), 0)
        counts = {log: {**none, "consumed": count, "rejected": count} for log, count in refused.items()}
        counts = with_unmapped(counts, logs)
        show_refused(logs.values(), tally, counts)
        raise typer.Exit(3)


def _stamped(records: Iterable[Record]) -> Iterator[Record]:
    """Gives each record its event time as Kafka timestamp, with which the join compares it: a file has none."""
    for record in records:
        try:
            ts = orjson.loads(record.value or b"")["ts"]
            stamp_ms = int(ts) if type(ts) in (int, float) and 0 <= ts < 1 << 53 else -1
        except (orjson.JSONDecodeError, TypeError, KeyError, IndexError):
            stamp_ms = -1
        yield Record(record.offset, stamp_ms, record.key, record.value)


def _feed(stack: Stack, source: Input, console: Console) -> None:
    """Feeds the input and shows the live view until the join has read all of it."""
    feed = Feed(stack.cluster, source.impressions, source.clicks, source.campaigns, speed=source.speed)
    stop = threading.Event()
    feed_errors: list[BaseException] = []

    def run_feed() -> None:
        try:
            feed.run(stop)
        except ClickfoldError as error:
            feed_errors.append(error)

    thread = threading.Thread(target=run_feed, name="feed", daemon=True)
    sources = Sources(
        join_metrics=stack.url("join"),
        learn_metrics=stack.url("learn"),
        sink_metrics=stack.url("sink"),
        pacing=stack.url("pace"),
        client=stack.clickhouse.warehouse.connect,
    )
    thread.start()
    try:
        with Live(console, first_ms=source.first_ms, last_ms=source.last_ms) as live:
            deadline_s = time.monotonic() + _DRAIN_S
            while True:
                stack.check()
                if feed_errors:
                    raise feed_errors[0]
                snapshot = sources.read()
                live.update(snapshot, feed.progress)
                if feed.progress.done:
                    sent = feed.progress.impressions + feed.progress.clicks
                    if snapshot.consumed >= sent:
                        return
                    if time.monotonic() > deadline_s:
                        raise ClickfoldError(
                            f"the join has read {snapshot.consumed} of {sent} records in {_DRAIN_S:.0f} s"
                        )
                else:
                    deadline_s = time.monotonic() + _DRAIN_S
                time.sleep(0.25)
    finally:
        stop.set()
        thread.join(5.0)
        sources.close()


def _show_ledger(counts: Mapping[str, Mapping[str, int]], console: Console) -> None:
    console.print("[bold]Ledger[/bold], what became of every record:")
    for log, of_log in counts.items():
        console.print(f"  {log}: " + ", ".join(f"{name} {count:,}" for name, count in of_log.items()))


def _export(stack: Stack, partitions: Iterable[int], counts: Mapping[str, Mapping[str, object]], folder: Path) -> None:
    """Writes outcomes.jsonl, and totals.csv and ledger.json with the sums over join partitions."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_file(folder / "outcomes.jsonl", "export") as file:
        for value in read_all(stack.cluster, "outcomes", 0):
            if not value.startswith(SHOWN):
                file.write(outcome_line(value))
    with (
        written_file(folder / "totals.csv", "export") as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        rows = csv.writer(text)
        rows.writerow(["minute", *DIMENSIONS, *MEASURES])
        for key, measures in sorted(summed_totals(stack.cluster, partitions).items()):
            rows.writerow([*key, *measures.values()])
    with written_file(folder / "ledger.json", "export") as file:
        file.write(orjson.dumps(counts) + b"\n")
