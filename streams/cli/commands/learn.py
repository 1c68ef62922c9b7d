"""`clickfold learn`: a progressive run of the default model over files of outcomes, without a broker."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import orjson
import typer

from online_models.kinds import new_model
from online_models.mixture.layout import NAMED
from online_models.mixture.reading import Reader
from online_models.mixture.row_model import RowModel
from online_models.progressive import Predictions
from schemas.compiled import load_kernels
from streams.cli.commands import options
from streams.cli.model_config import ModelConfig, check_slices, read_config
from streams.cli.render.escape import escaped
from streams.cli.render.figures import count, decimal
from streams.cli.written_file import written_file
from streams.inputs.files import FileLog
from streams.inputs.given import given
from streams.inputs.labelled import LabelledLog
from streams.inputs.order import NEWEST_FIRST
from streams.inputs.tally import fault

# Small enough for progress that moves and for the time of half of a short file.
_BATCH_ROWS: Final = 1_000
# Rows that wait for their label are copied with each batch; so a batch is at least this part of them.
_WAITING_PART: Final = 4
_LINE_EVERY_S: Final = 5.0
_REDRAW_EVERY_S: Final = 0.2


def learn(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            parser=given,
            help="Outcomes in any format that `fold` reads; - is stdin. All are one log, in order.",
        ),
    ],
    delay: Annotated[
        str,
        typer.Option(
            help="How long after an impression was shown its label is known; 0s: at once. "
            "[default: 0s, or that of --config]"
        ),
    ] = "",
    slices: Annotated[
        str,
        typer.Option(
            help=f"Fields to measure by: some of {', '.join(NAMED)}; separated by commas. "
            "[default: campaign_id, or those of --config]"
        ),
    ] = "",
    config: options.ModelConfigFile = None,
    model: options.LearnedModel = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Write impression_id and p of each row here, as JSON lines.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write the measures as one JSON object.")] = False,
) -> None:
    """Predict each outcome of files, then learn it; say how good the predictions were.

    It needs no broker. A row is predicted with what was learned before it was shown. Lines that are no outcomes are
    counted and named. Ends with code 3 when no line has a label or more than half of them are refused.
    """
    declared = read_config(config) if config is not None else ModelConfig()
    chosen = options.names(slices) or declared.slices
    check_slices(chosen)
    settings, kind = declared.learns.mixture, model.value if model is not None else declared.learns.kind
    if delay:
        settings = msgspec.structs.replace(settings, delay_ms=options.duration_ms("--delay", delay))
    log = LabelledLog(FileLog(files, "outcomes"))
    with ExitStack() as opened:
        written = None
        if predictions is not None:
            written = opened.enter_context(written_file(predictions, "predictions file"))
        learner = new_model(kind, settings)
        run = _Run(log, learner, Predictions(chosen), written)
        load_kernels()
        run.to_the_end(_Progress())
    _show_refused(log)
    for name in learner.selection.unseen():
        sys.stderr.write(escaped(f"{config} names {name}, which no row has") + "\n")
    report = run.report()
    if json:
        sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_APPEND_NEWLINE))
    else:
        for line in _lines(report):
            typer.echo(escaped(line))
    bad, good = sum(each["lines"] for each in report["refused"]), report["rows"] + report["without_label"]
    faults = fault("outcomes", consumed=good + bad, accepted=good, bad=bad)
    for sentence in faults:
        sys.stderr.write(f"clickfold: {sentence}\n")
    if faults or not report["rows"]:
        raise typer.Exit(3)


class _Run:
    """One pass over the rows: predicts, learns, measures, and keeps the time at each batch."""

    def __init__(self, log: LabelledLog, model: RowModel, predicted: Predictions, written: BinaryIO | None) -> None:
        self._log, self._model, self._predicted, self._written = log, model, predicted, written
        self._reader = Reader(model.known, model.selection, slices=predicted.slices)
        # Rows done, and seconds since the start.
        self._times = [(0, 0.0)]

    def to_the_end(self, progress: _Progress) -> None:
        """Reads, predicts and learns all rows."""
        lines: Iterator[tuple[int, bytes]] = self._log.files.lines()
        started, rows = time.perf_counter(), 0
        while True:
            most = max(_BATCH_ROWS, self._model.waiting // _WAITING_PART)
            batch = self._log.batch(lines, most, self._reader)
            if batch is None:
                break
            predicted = self._model.run(batch.rows)
            self._predicted.add(
                labels=batch.rows.labels,
                weights=batch.rows.weights,
                predicted=predicted,
                keys={name: batch.named_keys[:, NAMED.index(name)] for name in self._predicted.slices},
            )
            if self._written is not None:
                for impression_id, p in zip(batch.ids, predicted.tolist(), strict=True):
                    line = {"impression_id": impression_id.decode(), "p": p}
                    self._written.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            rows += len(batch.rows)
            self._times.append((rows, time.perf_counter() - started))
            progress.show(rows)
        progress.end()

    def report(self) -> dict[str, Any]:
        """All measures, as `--json` writes them."""
        whole, second = self._predicted.whole(), self._predicted.second_half()
        rows, seconds = self._times[-1]
        half_s = self._time_at(rows // 2)
        return {
            "rows": whole.rows,
            "clicks": whole.clicks,
            "ne": whole.ne,
            "ne_second_half": second.ne,
            "log_loss": whole.log_loss,
            "auc": whole.auc,
            "calibration": whole.calibration,
            "rows_per_s": rows / seconds if rows else None,
            "rows_per_s_second_half": (rows - rows // 2) / (seconds - half_s) if rows else None,
            "without_label": self._log.without_label,
            "refused": [
                {"lines": each.lines, "reason": each.reason, "first": str(each.first), "detail": each.detail}
                for each in self._log.refused.refusals(self._log.files)
            ],
            "slices": {
                name: {value: msgspec.structs.asdict(figures) for value, figures in values.items()}
                for name, values in self._predicted.by_slice(self._reader.texts).items()
            },
            "experts": self._model.shares(),
            "digest": self._model.digest(),
        }

    def _time_at(self, row: int) -> float:
        """Seconds until this many rows were done, between two batches in proportion."""
        before = (0, 0.0)
        for point in self._times:
            if point[0] >= row:
                part = (row - before[0]) / (point[0] - before[0]) if point[0] > before[0] else 0.0
                return before[1] + part * (point[1] - before[1])
            before = point
        return before[1]


class _Progress:
    """Says on standard error how many rows are done: redrawn on a terminal, elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._redraws = sys.stderr.isatty()
        self._last_s = self._start_s = time.monotonic()

    def show(self, rows: int) -> None:
        """Shows the number if it is time."""
        now_s = time.monotonic()
        if now_s - self._last_s >= (_REDRAW_EVERY_S if self._redraws else _LINE_EVERY_S):
            self._last_s = now_s
            text = f"{rows:,} rows, {rows / (now_s - self._start_s):,.0f} a second"
            sys.stderr.write(f"\r{text}\x1b[K" if self._redraws else f"{text}\n")
            sys.stderr.flush()

    def end(self) -> None:
        """Clears the line of a terminal."""
        if self._redraws:
            sys.stderr.write("\r\x1b[K")


def _show_refused(log: LabelledLog) -> None:
    texts = [f"note: {NEWEST_FIRST}"] if log.files.order.is_newest_first else []
    if lines := sum(each.lines for each in log.refused.refusals(log.files)):
        said = "line is no outcome and was" if lines == 1 else "lines are no outcomes and were"
        texts += [f"{lines:,} {said} left out:", *log.refused.lines(log.files)]
    for text in texts:
        sys.stderr.write(escaped(text) + "\n")


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for a person."""
    yield (
        f"{report['rows']:,} rows, {report['clicks']:,} clicks; "
        f"{report['without_label']:,} repeats and orphans left out"
    )
    if not report["rows"]:
        return
    yield f"normalised entropy   {decimal(report['ne'], 4)}, second half {decimal(report['ne_second_half'], 4)}"
    yield f"log loss             {decimal(report['log_loss'], 5)}"
    yield f"AUC                  {decimal(report['auc'], 4)}"
    yield f"predicted / clicks   {decimal(report['calibration'], 3)}"
    yield f"rows a second        {count(report['rows_per_s'])}, second half {count(report['rows_per_s_second_half'])}"
    shares = sorted(report["experts"].items(), key=lambda share: -share[1])
    yield "weight of opinions   " + ", ".join(f"{name} {share:.0%}" for name, share in shares)
    for name, values in report["slices"].items():
        yield ""
        yield f"{name:<24}{'rows':>10}{'clicks':>9}{'NE':>9}{'AUC':>8}{'predicted / clicks':>20}"
        for value, figures in values.items():
            yield (
                f"{value[:23]:<24}{figures['rows']:>10,}{figures['clicks']:>9,}{decimal(figures['ne'], 4):>9}"
                f"{decimal(figures['auc'], 4):>8}{decimal(figures['calibration'], 3):>20}"
            )
