"""`clickfold fold`: joins logs from files without a broker. It runs the code of live work, on one partition."""

from __future__ import annotations

import sys
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Annotated

import orjson
import typer

from schemas.codec import decode
from schemas.records import Out, Records
from schemas.rejects import Rejected
from schemas.totals import Ledger
from streams.cli.commands import options
from streams.cli.mapping import read_mapping_file
from streams.cli.reading_bar import ReadingBar
from streams.cli.render.escape import escaped_json
from streams.cli.render.refused import show_refused
from streams.inputs.left_out import LeftOut
from streams.inputs.tally import Tally, faults
from streams.inputs.unmapped import with_unmapped
from streams.join.fold import JoinFold
from streams.state.disk import Folder

# Outcomes of one sweep. At the end all that is open is decided, and in parts it takes little memory.
_SWEEP_OUTCOMES = 50_000
# How the record of an outcome without a click begins.
_UNCLICKED = b'{"kind":"unclicked",'


def fold(
    impressions: options.ImpressionFiles,
    clicks: options.ClickFiles,
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    dedupe: options.Dedupe = "",
    jump: options.Jump = options.AUTO,
    negative_rate: options.NegativeRate = 1.0,
    interleave: Annotated[
        int | None,
        typer.Option(help="Seed for another interleaving of both logs, which gives the same set of outcomes."),
    ] = None,
    mapping: options.MappingOption = "",
) -> None:
    """Join logs from files: outcomes as JSON lines on stdout; refused records and a last line of counts on stderr.

    Ends with code 3 when the outcomes cannot be used: a log of which nothing was accepted or more than half was late or
    refused, or clicks none of which matches an impression.
    """
    bounds = options.join_bounds(
        window=window,
        skew=skew,
        lateness=lateness,
        future="60s",
        dedupe=dedupe,
        negative_rate=negative_rate,
        jump_ms=options.jump_ms(jump),
    )
    mapped = read_mapping_file(mapping)
    logs = mapped.logs(impressions, clicks)
    tally, left_out = Tally(), LeftOut()
    with tempfile.TemporaryDirectory(prefix="clickfold-fold-") as folder, ReadingBar(logs.values()) as bar:
        join = JoinFold(bounds, Folder(Path(folder)), shown=False)
        for records in interleaved({log: files.batches() for log, files in logs.items()}, interleave, join):
            outs = join.step(records)
            if join.features_left_out and left_out.offset < 0:
                left_out.look(zip(records.offsets, records.values, strict=True), all_lines=False)
            _count_refused(outs, tally, records)
            _write(outs)
            _sweep_all(join, tally)
            bar.show()
        join.finish()
        _sweep_all(join, tally)
        _write((), last=True)
        counts = with_unmapped(summary(join.ledger()), logs)
        join.close()
    left_out.count = join.features_left_out
    show_refused(logs.values(), tally, counts, left_out=left_out)
    sys.stderr.buffer.write(orjson.dumps({**counts, **mapped.identity()}) + b"\n")
    if faults(counts):
        raise typer.Exit(3)


def interleaved(logs: dict[str, Iterator[Records]], seed: int | None, join: JoinFold) -> Iterator[Records]:
    """The batches of both logs in turn: of the log whose watermark is lower, or with a seed parts chosen at random."""
    random = Random(seed)
    waiting: dict[str, Records] = {}
    while True:
        for log, batches in list(logs.items()):
            if log not in waiting:
                batch = next(batches, None)
                if batch is None:
                    del logs[log]
                else:
                    waiting[log] = batch
        if not waiting:
            return
        log = (
            min(waiting, key=lambda name: join.state.logs[name].watermark.ms)
            if seed is None
            else random.choice(sorted(waiting))
        )
        batch = waiting.pop(log)
        size = len(batch) if seed is None else random.randint(1, len(batch))
        if size < len(batch):
            waiting[log] = batch.slice(size, len(batch))
        yield batch.slice(0, size)


def summary(ledger: Ledger) -> dict[str, dict[str, int]]:
    """How many records of each log were accepted, late and so on."""
    fates = {
        log: {name: getattr(counts, name) for name in ("consumed", "accepted", "late", "duplicate", "rejected")}
        for log, counts in (("impressions", ledger.impressions), ("clicks", ledger.clicks))
    }
    fates["impressions"]["unclicked"] = ledger.unclicked
    fates["clicks"] |= {"billable": ledger.billable, "repeat": ledger.repeat, "orphan": ledger.orphan}
    return fates


def summed_summary(ledgers: Iterable[Ledger]) -> dict[str, dict[str, int]]:
    """The sum of the summaries of several partitions."""
    summaries = [summary(ledger) for ledger in ledgers]
    return {
        log: {name: sum(each[log][name] for each in summaries) for name in summaries[0][log]}
        for log in ("impressions", "clicks")
    }


def outcome_line(value: bytes) -> bytes:
    """An outcome as a line of JSON. Without a click `click_id` is null, where the record in Kafka leaves it out."""
    if value.startswith(_UNCLICKED):
        # Nearly all of them: reading and writing each anew took a third of the time of the command.
        return b'{"click_id":null,' + value[1:] + b"\n"
    return orjson.dumps({"click_id": None, **orjson.loads(value)}, option=orjson.OPT_APPEND_NEWLINE)


def _sweep_all(join: JoinFold, tally: Tally) -> None:
    """Puts out all that can be decided now. At the end of a log that includes the dead letters of held records."""
    while join.can_sweep():
        outs = join.sweep(_SWEEP_OUTCOMES)
        _count_refused(outs, tally)
        _write(outs)


def _count_refused(outs: Iterable[Out], tally: Tally, records: Records | None = None) -> None:
    """Counts dead letters. One of the given batch has its whole line there; one of an earlier batch has its prefix."""
    for out in outs:
        if out.topic == "rejects":
            letter = decode(out.value or b"", Rejected)
            line: bytes | None = letter.prefix
            if records is not None and letter.topic == records.log and letter.offset >= records.offsets[0]:
                line = records.values[bisect_left(records.offsets, letter.offset)]
            tally.add(letter.topic, reason=letter.reason, detail=letter.detail, offset=letter.offset, line=line or b"")


def _write(outs: Iterable[Out], *, last: bool = False) -> None:
    lines = b"".join([outcome_line(out.value or b"") for out in outs if out.topic == "outcomes"])
    if lines and sys.stdout.isatty():
        lines = escaped_json(lines.decode()).encode()
    sys.stdout.buffer.write(lines)
    if last:
        sys.stdout.buffer.flush()
