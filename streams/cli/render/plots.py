"""Charts of models as a PNG file: normalised entropy over time, and a reliability diagram."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from schemas.errors import SettingsError
from schemas.models import ModelMetrics
from streams.cli.render.models import reliability_sums
from streams.cli.written_file import written_file

_INCHES: Final = (11.0, 4.5)
_DPI: Final = 120


def write_png(path: Path, windows: Sequence[ModelMetrics]) -> None:
    """Draws windows of whole models, each there once. Raises SettingsError without matplotlib or without a window."""
    try:
        from matplotlib.figure import Figure  # not pyplot: no window, no state of the process
    except ImportError as error:
        raise SettingsError("--png needs matplotlib: install clickfold with the extra `plots`") from error
    if not windows:
        raise SettingsError("no window is complete yet, so there is nothing to draw; wait for the first")
    by_model: defaultdict[str, list[ModelMetrics]] = defaultdict(list)
    for each in windows:
        by_model[each.model].append(each)
    figure = Figure(figsize=_INCHES, layout="constrained")
    over_time, reliability = figure.subplots(1, 2, width_ratios=(2, 1))
    for model, own in by_model.items():
        moments = [datetime.fromtimestamp(each.window_start / 1_000, UTC) for each in own]
        # A window without both labels has no entropy: the line has a gap there.
        over_time.plot(
            moments, [float("nan") if each.ne is None else each.ne for each in own], label=model, linewidth=1
        )
    over_time.axhline(1.0, color="grey", linestyle=":", linewidth=1)
    over_time.set(title="Normalised entropy of each window", xlabel="impression time, UTC", ylabel="NE")
    over_time.legend(fontsize="small")
    for label in over_time.get_xticklabels():
        label.set(rotation=30, ha="right")
    least, most = 1.0, 0.0
    for model in by_model:
        sums = [value for (name, _), value in reliability_sums(windows).items() if name == model]
        # On logarithmic scales a bin without clicks has no place.
        points = [(predicted / weight, clicks / weight) for weight, clicks, predicted in sums if clicks and predicted]
        reliability.plot([x for x, _ in points], [y for _, y in points], marker="o", markersize=4, linewidth=1)
        least = min([least, *(value for point in points for value in point)])
        most = max([most, *(value for point in points for value in point)])
    if most > 0.0:
        reliability.plot([least, most], [least, most], color="grey", linestyle=":", linewidth=1)
        reliability.set(xscale="log", yscale="log")
    reliability.set(title="Reliability", xlabel="predicted click rate", ylabel="actual click rate")
    with written_file(path, "chart") as file:
        figure.savefig(file, format="png", dpi=_DPI)
