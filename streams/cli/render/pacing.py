"""What `clickfold whatif` prints: figures of a day, the campaigns that are furthest from their budgets, the day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import RenderableType

from schemas.clickhouse.queries import Chart, Table
from streams.cli.render.charts import Canvas, draw
from streams.cli.render.figures import decimal, money, percent
from streams.cli.render.models import table_of
from streams.market.figures import Figures, click_prices

if TYPE_CHECKING:
    from streams.market.run import Day, Reference

_WORST: Final = 5
_STEP_MINUTES: Final = 10


def summary(found: Figures, day: Day) -> Iterator[str]:
    """The figures of a day, one a line."""
    share = found.within_2 / found.feasible if found.feasible else None
    yield f"{found.feasible} of {len(day.budgets)} campaigns could spend their budget"
    yield f"delivered of their budgets   {percent(found.delivered)}"
    yield f"within 2 % or a click        {percent(share, 1)}"
    yield f"furthest over a budget       {decimal(found.over, 2)} click prices"
    if day.hour_caps is not None:
        yield f"furthest over an hour's cap  {decimal(found.over_hour, 2)} click prices"
    yield f"distance to the plan (RMSE)  {percent(found.rmse, 1)} of the budget"
    yield f"clicks a unit of money       {decimal(found.value, 2)} times those at unpaced prices"
    yield f"decisions a second           {decimal(found.told_per_s, 2)}"


def worst(day: Day, reference: Reference) -> RenderableType:
    """The campaigns that ended furthest from budgets they could spend, in click prices."""
    billed, clicks = day.spend.sum(1), day.clicks.sum(1)
    prices = click_prices(billed, clicks, reference)
    apart = np.where(reference.feasible, (billed - day.budgets) / prices, 0.0)
    table = table_of("Furthest from their budgets", ("campaign",), ("budget", "billed", "clicks", "apart, clicks"), ())
    for row in np.argsort(-np.abs(apart))[:_WORST]:
        cells = (money(int(day.budgets[row])), money(int(billed[row])), f"{clicks[row]:.0f}", f"{apart[row]:+.2f}")
        table.add_row(str(row), *cells)
    return table


def chart(day: Day, canvas: Canvas) -> RenderableType:
    """Spend of all campaigns against their plans, over the day."""
    minutes = np.arange(_STEP_MINUTES - 1, day.spend.shape[1], _STEP_MINUTES)
    whole = max(float(day.budgets.sum()), 1.0)
    lines = {"spent": np.cumsum(day.spend.sum(0)) / whole, "planned": day.plan.sum(0) / whole}
    rows = [
        [f"1970-01-01 {minute // 60:02}:{minute % 60:02}:00", name, float(values[minute])]
        for name, values in lines.items()
        for minute in minutes
    ]
    drawn = Chart("line", "Spend of all campaigns and their plans", x="time", y="share", by="line", unit="%")
    return draw(Table(("time", "line", "share"), ("DateTime", "String", "Float64"), rows), drawn, canvas)
