"""Models in a terminal: which there are, their measures, what a prediction is made of, and how two differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import log
from typing import Any, Final

import msgspec
import numpy as np
import rich.table
from rich import box
from rich.console import Group, RenderableType
from rich.text import Text

from online_models.metrics import BIN_EDGES
from online_models.mixture.layout import NAMED
from online_models.published import PublishedModel, PublishedModels
from schemas.clickhouse.queries import Chart, Table
from schemas.events import Impression
from schemas.models import ModelManifest, ModelMetrics
from schemas.outcomes import Outcome
from streams.cli.model_comparison import Compared
from streams.cli.render.charts import Canvas, draw
from streams.cli.render.escape import escaped
from streams.cli.render.figures import count, decimal, moment, percent
from streams.cli.render.measures import Measures

_NEWEST_WINDOWS: Final = 5
_MOST_SETTINGS: Final = 20


def models_table(models: PublishedModels, manifests: Iterable[ModelManifest]) -> RenderableType:
    """A table of versions: what learned, the event time it has learned up to, its size, and which is in use."""
    names, numbers = ("model", "learns"), ("shard", "version", "bytes", "NE", "calibration")
    table = table_of("Models", names, numbers, ("learned to (UTC)", "digest", "in use"))
    in_use = {
        (each.manifest.model, each.manifest.shard, each.manifest.version): f"{model}/{shard}"
        for (model, shard), each in models.current.items()
    }
    for each in manifests:
        table.add_row(
            Text(escaped(each.model)), Text(escaped(each.kind)), str(each.shard), str(each.version), count(each.bytes),
            decimal(each.measures.get("ne"), 4), decimal(each.measures.get("calibration"), 3), moment(each.event_ms),
            each.digest[:12], escaped(in_use.get((each.model, each.shard, each.version), "")),
        )  # fmt: skip
    return table


def measures_table(windows: Iterable[ModelMetrics]) -> RenderableType:
    """A table of the measures of each shard: its newest windows, and all windows together. Slices are left out."""
    by_shard: defaultdict[tuple[str, int], list[ModelMetrics]] = defaultdict(list)
    for each in newest_windows(windows):
        by_shard[each.model, each.shard].append(each)
    if not by_shard:
        return Text("Measures: no window is complete yet.")
    names = ("outcomes", "clicks", "predicted", "calibration", "log loss", "AUC")
    table = table_of("Predicted before learned", ("shard", "window from (UTC)"), names, ())
    for (model, shard), of_shard in by_shard.items():
        shown = Text(escaped(f"{model}/{shard}"))
        for each in of_shard[-_NEWEST_WINDOWS:]:
            figures = measures_of(each).figures()
            table.add_row(shown, moment(each.window_start), *figures, decimal(each.auc, 3))
        total = sum((measures_of(each) for each in of_shard), Measures())
        table.add_row(shown, f"all {len(of_shard)} windows", *total.figures(), "", style="bold")
    return table


def comparison_table(found: Sequence[Compared]) -> RenderableType:
    """A table of challengers: the mean difference of their losses, with an interval that is right at every look."""
    names, numbers = ("challenger", "against"), ("windows", "outcomes", "points of NE", "from", "to", "p")
    table = table_of("Loss of challengers less that of the model", names, numbers, ("verdict",))
    for each in found:
        points = 100.0 / each.entropy if each.entropy else 0.0
        low, high = each.sums.interval()
        table.add_row(
            Text(escaped(each.challenger)), Text(escaped(each.against)), count(each.windows), count(each.sums.examples),
            *(f"{value * points:+.3f}" for value in (each.sums.difference, low, high)),
            decimal(each.sums.p_value(), 4), each.verdict,
        )  # fmt: skip
    return table


def charts(windows: Iterable[ModelMetrics], canvas: Canvas) -> list[RenderableType]:
    """NE over time, a line for each model, and the reliability diagram of all windows."""
    newest = newest_windows(windows)
    columns = ("window_start", "model", "ne")
    rows = [[moment(each.window_start), each.model, each.ne] for each in newest]
    over_time = Chart("line", "Normalised entropy of each window", "window_start", "ne", by="model", at=1.0)
    return [
        draw(Table(columns, ("DateTime", "String", "Float64"), rows), over_time, canvas),
        Text(),
        reliability_table(newest),
    ]


def reliability_table(windows: Iterable[ModelMetrics]) -> RenderableType:
    """For each model and bin of predictions: what was predicted, and the click rate; a bar for each."""
    table = table_of("Reliability", ("model", "predicted from"), ("impressions", "clicks", "predicted", "clicked"), ())
    for (model, least), (weight, clicks, predicted) in reliability_sums(windows).items():
        table.add_row(
            Text(escaped(model)), f"{least:g}", count(weight), count(clicks), percent(predicted / weight, 3),
            percent(clicks / weight, 3),
        )  # fmt: skip
    return table


def reliability_sums(windows: Iterable[ModelMetrics]) -> dict[tuple[str, float], tuple[float, float, float]]:
    """Weight, clicks and predicted clicks by model and lower end of the bin, without empty bins."""
    found: dict[tuple[str, float], tuple[float, float, float]] = {}
    for each in windows:
        for least, (weight, clicks, predicted) in zip((0.0, *BIN_EDGES), each.bins, strict=False):
            if weight:
                before = found.get((each.model, least), (0.0, 0.0, 0.0))
                found[each.model, least] = before[0] + weight, before[1] + clicks, before[2] + predicted
    return dict(sorted(found.items()))


def newest_windows(windows: Iterable[ModelMetrics]) -> list[ModelMetrics]:
    """The windows of whole models, each once, by model, shard and time. After a restart one may be written again."""
    newest: dict[tuple[str, int, int], ModelMetrics] = {}
    for each in windows:
        key = (each.model, each.shard, each.window_start)
        if each.slice == "all" and (key not in newest or each.version >= newest[key].version):
            newest[key] = each
    return [each for _, each in sorted(newest.items(), key=lambda item: item[0])]


def prediction_table(model: PublishedModel, impression: Impression | Outcome) -> RenderableType:
    """The click probability of one impression, and how its log odds change without each feature, largest first."""
    without = [
        (name, getattr(impression, name), msgspec.structs.replace(impression, **{name: None}))
        for name in NAMED
        if getattr(impression, name) is not None
    ]
    features = impression.features or {}
    for name, value in features.items():
        others = {other: kept for other, kept in features.items() if other != name}
        without.append((f"features.{name}", value, msgspec.structs.replace(impression, features=others)))
    whole, *rest = model.predict(model.rows([impression, *(changed for _, _, changed in without)])).tolist()
    sentence = (
        f"{named_shard(model.manifest)}: impression {escaped(impression.impression_id)} is clicked with probability "
    )
    table = table_of("What each feature adds to the log odds", ("feature", "value"), (), ())
    table.add_column("log odds", justify="right", no_wrap=True)
    adds = sorted(
        ((_log_odds(whole) - _log_odds(p), name, value) for (name, value, _), p in zip(without, rest, strict=True)),
        key=lambda each: -abs(each[0]),
    )
    for added, name, value in adds:
        style = "dim" if not added else "green" if added > 0.0 else "magenta"
        table.add_row(Text(escaped(name)), Text(escaped(str(value))), Text(f"{added:+.4f}", style=style))
    return Group(Text.assemble(sentence, (percent(whole, 3), "bold")), table)


def difference(one: PublishedModel, other: PublishedModel, shown: Sequence[Outcome]) -> list[RenderableType]:
    """How two models differ: what they are, their settings, and what they predict of the same impressions."""
    table = table_of("Two models", ("", "first", "second"), (), ())
    for name in ("model", "shard", "version", "kind", "next_offset", "bytes", "digest"):
        table.add_row(name, *(escaped(str(getattr(each.manifest, name))) for each in (one, other)))
    table.add_row("learned to (UTC)", moment(one.manifest.event_ms), moment(other.manifest.event_ms))
    for name in sorted({*one.manifest.measures, *other.manifest.measures}):
        table.add_row(name, *(decimal(each.manifest.measures.get(name), 4) for each in (one, other)))
    for name, first, second in _changed(one.manifest.settings, other.manifest.settings)[:_MOST_SETTINGS]:
        table.add_row(f"setting {name}", escaped(str(first)[:60]), escaped(str(second)[:60]))
    if not shown:
        return [table, Text("No outcome with an impression is in the log, so predictions are not compared.")]
    ours, theirs = (each.predict(each.rows(shown)) for each in (one, other))
    apart = np.abs(np.log(ours / (1.0 - ours)) - np.log(theirs / (1.0 - theirs)))
    return [
        table,
        Text(
            f"Of the newest {len(shown)} outcomes they predict {percent(float(ours.mean()), 3)} and "
            f"{percent(float(theirs.mean()), 3)} on average; log odds differ by {apart.mean():.4f} on average, at most "
            f"by {apart.max():.4f}."
        ),
    ]


def named_shard(manifest: ModelManifest) -> str:
    """A version in a sentence."""
    return escaped(f"{manifest.model}/{manifest.shard}@{manifest.version}")


def measures_of(window: ModelMetrics) -> Measures:
    """The measures of a window as sums."""
    return Measures(
        window.examples, window.weight, window.clicks, window.predicted_clicks, window.log_loss * window.weight
    )


def table_of(title: str, texts: tuple[str, ...], numbers: tuple[str, ...], more: tuple[str, ...]) -> rich.table.Table:
    """A plain table with columns of texts, of numbers, and further columns of texts."""
    table = rich.table.Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for names, right in ((texts, False), (numbers, True), (more, False)):
        for name in names:
            table.add_column(name, justify="right" if right else "left", no_wrap=not texts.count(name))
    return table


def _changed(one: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    names = sorted({*one, *other})
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _log_odds(p: float) -> float:
    return log(p / (1.0 - p))
