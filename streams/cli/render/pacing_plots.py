"""The day of `clickfold whatif` as a PNG file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from schemas.errors import SettingsError
from streams.cli.written_file import written_file
from streams.market.figures import click_prices

if TYPE_CHECKING:
    from streams.market.run import Day, Reference

_INCHES: Final = (11.0, 6.5)
_DPI: Final = 110
_SHOWN: Final = 4


def write_png(path: Path, day: Day, reference: Reference) -> None:
    """Draws spend against plans, shares and multipliers of the largest budgets, and how far from budgets all ended.

    Raises SettingsError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError("--png needs matplotlib: install clickfold with the extra `plots`") from error
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots(2, 2)
    hours = (np.arange(day.spend.shape[1]) + 1) / 60
    can = np.flatnonzero(reference.feasible)
    rows = can[np.argsort(-day.budgets[can])][np.linspace(0, max(len(can) - 1, 0), min(_SHOWN, len(can))).astype(int)]
    _paths(axes[0, 0], day, hours, rows)
    for row in rows:
        axes[0, 1].plot(hours, day.admitted[row], linewidth=1)
        axes[1, 1].plot(hours, day.multiplier[row], linewidth=1)
    axes[0, 1].set(title="Share of auctions", xlabel="hour", ylim=(0, 1.03), xlim=(0, 24))
    axes[1, 1].set(title="Bid multiplier", xlabel="hour", ylim=(0, 1.03), xlim=(0, 24))
    billed, clicks = day.spend.sum(1), day.clicks.sum(1)
    prices = click_prices(billed, clicks, reference)
    axes[1, 0].hist(((billed - day.budgets) / prices)[reference.feasible], bins=30)
    axes[1, 0].axvline(0.0, color="grey", linestyle=":", linewidth=1)
    axes[1, 0].set(title="Billed above the budget at the end", xlabel="click prices", ylabel="campaigns")
    for each in axes[[0, 0, 1], [0, 1, 1]]:
        each.set_xticks(range(0, 25, 4))
    with written_file(path, "chart") as file:
        figure.savefig(file, format="png", dpi=_DPI)


def _paths(axis: Any, day: Day, hours: Any, rows: Any) -> None:
    for row in rows:
        budget = day.budgets[row]
        (line,) = axis.plot(hours, np.cumsum(day.spend[row]) / budget, linewidth=1.2, label=f"{budget / 1e6:,.0f}")
        axis.plot(hours, day.plan[row] / budget, linewidth=1, linestyle=":", color=line.get_color())
    axis.set(title="Spend over budget, and plan (dotted)", xlabel="hour", ylim=(0, 1.05), xlim=(0, 24))
    axis.legend(title="budget", fontsize="small")
