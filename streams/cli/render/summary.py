"""The summary at the end of a demo, from the named queries: rates, spend, experiments, budgets, the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from online_models.experiments import Arm, Comparison, compare, rate_interval
from schemas.clickhouse.queries import run_query
from streams.cli.render.escape import escaped, escaped_table
from streams.cli.render.figures import DASH, count, decimal, money, sparkline
from streams.cli.render.live import STATE_STYLES
from streams.cli.render.measures import Measures

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Rows of each table. The summary says how many it leaves out, and which query has them.
_MOST_ROWS: Final = 40
# Windows that are still open leave out an hour or so. A larger share than this is reported.
_FAIR_SHARE: Final = 0.9
# More than any query has: by default queries give as many rows as fit a terminal, and here all are summed.
_ALL_ROWS: Final = {"rows": "1000000"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Day:
    """One campaign on one UTC day.

    `hourly_impressions` and `hourly_clicks` hold 24 counts each. Clicks are counted in the hour of their impression.
    `spend_micros` is the spend of the clicks made on this day.
    """

    campaign_id: str
    day: date
    hourly_impressions: tuple[int, ...]
    hourly_clicks: tuple[int, ...]
    spend_micros: int

    @property
    def impressions(self) -> int:
        return sum(self.hourly_impressions)

    @property
    def attributed_clicks(self) -> int:
        return sum(self.hourly_clicks)


def summary(client: Client) -> list[RenderableType]:
    """The parts of the summary in order; a part without data is a line that says so.

    Raises the errors of clickhouse-connect when ClickHouse does not answer.
    """
    campaigns = client.query("SELECT campaign_id, currency FROM campaigns WHERE currency != ''").result_rows
    currencies = {escaped(str(campaign_id)): escaped(str(currency)) for campaign_id, currency in campaigns}
    return [
        rates(days(_rows(client, "ctr_by_campaign_hour")), currencies),
        Text(),
        arms(_rows(client, "experiment_arms", bounded=False)),
        Text(),
        pacing(_rows(client, "pacing"), currencies),
        Text(),
        model(_rows(client, "model_metrics"), labelled=_labelled(client)),
        Text(),
    ]


def days(hours: Iterable[Row]) -> list[Day]:
    """The rows of `ctr_by_campaign_hour`, one for each hour, as days: ascending by campaign and day."""
    gathered: defaultdict[tuple[str, date], dict[int, Row]] = defaultdict(dict)
    for row in hours:
        hour = datetime.fromisoformat(row["hour"])
        gathered[row["campaign_id"], hour.date()][hour.hour] = row
    return [
        Day(
            campaign_id,
            day,
            tuple(int(of_day[hour]["impressions"]) if hour in of_day else 0 for hour in range(24)),
            tuple(int(of_day[hour]["attributed_clicks"]) if hour in of_day else 0 for hour in range(24)),
            sum(int(row["spend_micros"]) for row in of_day.values()),
        )
        for (campaign_id, day), of_day in sorted(gathered.items())
    ]


def rates(of_days: list[Day], currencies: dict[str, str]) -> RenderableType:
    """A table of click-through rate and spend by campaign and day, with a sparkline of the day's impressions."""
    if not of_days:
        return Text("Campaigns: no totals yet.")
    table = _table("CTR and spend by campaign and day (UTC)")
    table.add_column("campaign", overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("day", no_wrap=True)
    for name in ("impressions", "clicks", "CTR %", f"spend{_unit(currencies)}"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("impressions, 0 to 23 h", no_wrap=True)
    busiest = max(max(day.hourly_impressions) for day in of_days)
    for number, day in enumerate(of_days[:_MOST_ROWS]):
        following = of_days[number + 1] if number + 1 < len(of_days) else None
        table.add_row(
            Text(day.campaign_id),
            f"{day.day:%m-%d}",
            count(day.impressions),
            count(day.attributed_clicks),
            _rate(day),
            _spend(day.spend_micros, day.campaign_id, currencies),
            sparkline([value or None for value in day.hourly_impressions], highest=busiest),
            end_section=following is None or following.campaign_id != day.campaign_id,
        )
    for each in _campaign_sums(of_days):
        table.add_row(
            Text(each.campaign_id), "all", count(each.impressions), count(each.attributed_clicks),
            _rate(each), _spend(each.spend_micros, each.campaign_id, currencies), "", style="bold",
        )  # fmt: skip
    left_out = f"{len(of_days) - _MOST_ROWS} more days left out. " if len(of_days) > _MOST_ROWS else ""
    note = "CTR: of the day's impressions, whenever clicked; spend: by the day of the click. "
    return Group(table, Text(f"{note}{left_out}Hour by hour: clickfold query ctr_by_campaign_hour", style="dim"))


def _campaign_sums(of_days: list[Day]) -> list[Day]:
    """One Day for each campaign, with the sums of all its days."""
    by_campaign: defaultdict[str, list[Day]] = defaultdict(list)
    for day in of_days:
        by_campaign[day.campaign_id].append(day)
    return [
        Day(
            campaign_id,
            of_campaign[0].day,
            tuple(map(sum, zip(*(day.hourly_impressions for day in of_campaign), strict=True))),
            tuple(map(sum, zip(*(day.hourly_clicks for day in of_campaign), strict=True))),
            sum(day.spend_micros for day in of_campaign),
        )
        for campaign_id, of_campaign in list(by_campaign.items())[:_MOST_ROWS]
    ]


def arms(rows: list[Row]) -> RenderableType:
    """A table of the arms of every experiment with 95 % intervals, and a verdict on each pair of arms."""
    shown = [row for row in rows if row["impressions"]]
    if not shown:
        return Text("Experiments: no impression names an arm.")
    table = _table("Experiments: click rate by arm, 95 % intervals at every look")
    for name in ("experiment", "arm"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, max_width=24)
    for name in ("impressions", "clicks", "CTR %", "low %", "high %", "predicted"):
        table.add_column(name, justify="right", no_wrap=True)
    by_experiment: defaultdict[str, list[Arm]] = defaultdict(list)
    for row in shown:
        arm = Arm(row["arm"] or "(none)", int(row["impressions"]), int(row["attributed_clicks"]))
        by_experiment[row["experiment"]].append(arm)
        interval = rate_interval(arm)
        table.add_row(
            Text(row["experiment"]), Text(arm.name), count(arm.impressions), count(arm.clicks),
            decimal(100 * arm.rate, 3), decimal(100 * interval.low, 3), decimal(100 * interval.high, 3),
            decimal(float(row["expected_clicks"]), 1),
        )  # fmt: skip
    verdicts = [
        verdict(experiment, first, other, compare(first, other))
        for experiment, (first, *others) in by_experiment.items()
        for other in others
    ]
    return Group(table, *verdicts)


def verdict(experiment: str, a: Arm, b: Arm, comparison: Comparison) -> Text:
    """The difference of two arms as a sentence, with the better arm, or 'undecided' when the data do not show one."""
    better = {"a": a.name, "b": b.name, "undecided": "undecided"}[comparison.verdict]
    style = "bold magenta" if comparison.verdict == "undecided" else "bold green"
    low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
    return Text.assemble(
        f"{experiment}: {b.name} less {a.name} is {100 * comparison.difference:+.3f} points ",
        f"({low:+.3f} to {high:+.3f}), p {comparison.p_value:.2f}: ",
        (better, style),
        f"; {comparison.reason}",
    )


def pacing(rows: list[Row], currencies: dict[str, str]) -> RenderableType:
    """A table of the last decision on each campaign: spend of its local day, plan and budget."""
    if not rows:
        return Text("Pacing: no decisions yet.")
    table = _table("Pacing: last decision on each campaign, spend of its local day")
    table.add_column("campaign", overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("at (UTC)", no_wrap=True)
    for name in (f"spend{_unit(currencies)}", "plan", "budget", "used %", "admit"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in sorted(rows[:_MOST_ROWS], key=lambda row: str(row["campaign_id"])):
        used = row["budget_percent"]
        state = str(row["state"])
        table.add_row(
            Text(row["campaign_id"]), f"{datetime.fromisoformat(row['event_time']):%m-%d %H:%M}",
            _spend(int(row["spend_micros"]), row["campaign_id"], currencies), money(int(row["plan_micros"])),
            money(int(row["budget_micros"])), DASH if used is None else decimal(used, 1), decimal(row["admit"], 2),
            Text(state.replace("_", " "), style=STATE_STYLES.get(state, "")),
        )  # fmt: skip
    if len(rows) > _MOST_ROWS:
        return Group(table, Text(f"{len(rows) - _MOST_ROWS} more: clickfold query pacing", style="dim"))
    return table


def model(rows: list[Row], *, labelled: int = 0) -> RenderableType:
    """A table of how well models predicted outcomes before they learned them, by UTC day and in all.

    `labelled` is the number of outcomes that each model could learn from.
    """
    if not rows:
        return Text("Model: no window is complete yet.")
    by_day: defaultdict[tuple[str, str], Measures] = defaultdict(Measures)
    totals: defaultdict[str, Measures] = defaultdict(Measures)
    for row in rows:
        measures = measures_of(row)
        by_day[row["model"], row["window_start"][:10]] += measures
        totals[row["model"]] += measures
    table = _table("Model: predicted before learned, by day of the impression (UTC)")
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=20)
    table.add_column("day", no_wrap=True)
    for name in ("outcomes", "clicks", "predicted", "calibration", "log loss", "constant's"):
        table.add_column(name, justify="right", no_wrap=True)
    for (name, day), measures in sorted(by_day.items())[-_MOST_ROWS:]:
        table.add_row(Text(name), day[5:], *_measured(measures))
    for name, measures in sorted(totals.items()):
        table.add_row(Text(name), "all", *_measured(measures), style="bold")
    note = "constant's: log loss of the period's own click rate, which nobody could know then."
    parts: list[RenderableType] = [table, Text(note, style="dim")]
    measured = max(measures.examples for measures in totals.values())
    if measured < _FAIR_SHARE * labelled:
        # Mostly unclicked outcomes are left out, because they are decided later than clicks. That biases the figures.
        missing = (
            f"Only {measured:,} of {labelled:,} outcomes were measured: the others came after their window closed. "
        )
        parts.append(
            Text(missing + "Those are mostly non-clicks: calibration reads too low, log loss too high.", "magenta")
        )
    return Group(*parts)


def measures_of(row: Row) -> Measures:
    """The sums in a row of `model_metrics`."""
    weight = float(row["weight"])
    return Measures(
        examples=int(row["examples"]),
        weight=weight,
        clicks=float(row["clicks"]),
        predicted_clicks=float(row["predicted_clicks"]),
        loss_nats=float(row["log_loss"]) * weight,
    )


def _measured(measures: Measures) -> list[str]:
    return [*measures.figures(), decimal(measures.constant_log_loss, 5)]


def _rate(day: Day) -> str:
    return decimal(100 * day.attributed_clicks / day.impressions if day.impressions else None, 2)


def _unit(currencies: dict[str, str]) -> str:
    """The currency for the head of a column when all campaigns have the same one, else empty."""
    return f" {currencies[min(currencies)]}" if len(set(currencies.values())) == 1 else ""


def _labelled(client: Client) -> int:
    """The number of outcomes that models can learn from."""
    sql = "SELECT count() FROM outcomes WHERE kind IN ('click', 'unclicked')"
    return int(client.query(sql).result_rows[0][0])


def _spend(micros: int, campaign_id: str, currencies: dict[str, str]) -> str:
    currency = "" if _unit(currencies) else currencies.get(campaign_id, "")
    return f"{money(micros)} {currency}".rstrip()


def _table(title: str) -> Table:
    # One space between columns, so that the widest of these tables fits 80 columns.
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )


def _rows(client: Client, name: str, *, bounded: bool = True) -> list[Row]:
    table = escaped_table(run_query(client, name, _ALL_ROWS if bounded else None))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
