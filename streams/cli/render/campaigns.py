"""Campaigns in a terminal: those in force with what they spend, one of them, and its changes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import rich.table
from msgspec import structs, to_builtins
from rich.console import Group, RenderableType
from rich.text import Text

from schemas.campaigns import CampaignChange
from schemas.codec import encode
from schemas.events import Campaign
from schemas.pacing import STATES, PacingDecision
from streams.cli.render.escape import escaped
from streams.cli.render.figures import DASH, decimal, moment, money
from streams.cli.render.models import table_of


def campaigns_table(rows: Iterable[tuple[Campaign, PacingDecision | None]]) -> RenderableType:
    """A table of campaigns; money in units of the campaign's currency."""
    numbers = ("budget a day", "spent", "admit")
    table = table_of("Campaigns", ("campaign", "status", "pacing", "time zone"), numbers, ("currency", "state"))
    for each, decision in rows:
        table.add_row(
            Text(escaped(each.campaign_id)), each.status, each.pacing, escaped(each.timezone),
            money(each.daily_budget_micros),
            money(decision.spend_micros) if decision is not None else DASH,
            decimal(decision.admit, 3) if decision is not None else DASH,
            Text(escaped(each.currency or DASH)), decision.state if decision is not None else DASH,
        )  # fmt: skip
    return table


def campaign_table(campaign: Campaign, decision: PacingDecision | None) -> RenderableType:
    """All fields of a campaign that have a value, and the last decision in words."""
    table = rich.table.Table.grid(padding=(0, 2, 0, 0))
    for name, value in to_builtins(campaign).items():
        table.add_row(_label(name), Text(escaped(_shown(name, value))))
    if decision is None:
        return Group(table, Text("\nThe worker `pace` has not decided on it yet.", style="dim"))
    facts = (
        f"\nToday it has spent {money(decision.spend_micros)} of {money(decision.budget_micros)}; its plan was "
        f"{money(decision.plan_micros)} by {moment(decision.event_ms)} UTC. {decision.impressions:,} impressions, "
        f"{decision.clicks:,} clicks. It enters {100 * decision.admit:.1f} % of its auctions."
    )
    return Group(table, Text(facts), Text(STATES[decision.state], style="dim"))


def history_table(changes: Iterable[CampaignChange]) -> RenderableType:
    """A row for each change: since when, and the fields that it changed."""
    table = table_of("Changes", ("in force since (UTC)", "changed"), ("number", "version", "offset"), ())
    before: dict[str, Any] = {}
    for change in changes:
        after = structs.asdict(change.campaign) if change.campaign is not None else {}
        table.add_row(
            _second(change.in_force_ms), Text(escaped(_difference(before, after))), str(change.number),
            str(change.campaign.version) if change.campaign is not None else DASH, str(change.offset),
        )  # fmt: skip
        before = after
    return table


def with_decision(campaign: Campaign, decision: PacingDecision | None) -> str:
    """A line of JSON: the campaign, and the last decision on it, or null."""
    return encode({"campaign": campaign, "decision": decision}).decode()


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    if not after:
        return "withdrawn"
    changed = [name for name in after if name not in ("campaign_id", "version") and after[name] != before.get(name)]
    return ", ".join(f"{_label(name)} {_shown(name, after[name])}" for name in changed) or "announced again"


def _label(name: str) -> str:
    # Amounts are shown in units of the currency.
    return name.removesuffix("_micros").replace("_", " ")


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if name in ("start", "end"):
        return f"{_second(value)} UTC"
    if isinstance(value, list):
        return f"{len(value)} shares of a day"
    return f"{value / 1e6:,.6f}".rstrip("0").rstrip(".") if name.endswith("_micros") else str(value)


def _second(ts_ms: int) -> str:
    return DASH if ts_ms < 0 else f"{datetime.fromtimestamp(ts_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S}"
