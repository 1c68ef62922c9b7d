"""`clickfold campaigns`: list, show, announce, change, pause and resume campaigns, and what they were before."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from schemas.errors import SettingsError
from schemas.events import Campaign
from schemas.zones import zone
from streams.cli.commands.campaign_fields import micros, removable_fields, shares
from streams.cli.connections import kafka_cluster
from streams.cli.lazy import command_group
from streams.cli.render.escape import escaped, escaped_json

if TYPE_CHECKING:
    from streams.campaigns.book import Book
    from streams.campaigns.judge import Campaigns
    from streams.serve.decisions import Decisions

CampaignId = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Id of the campaign.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines.")]
Wait = Annotated[
    int, typer.Option(min=0, max=600, help="Seconds to wait for the worker `pace`, which accepts or refuses changes.")
]

app = command_group("Look at campaigns and change their budgets, flights and state.", no_args_is_help=True)


@app.command(name="list")
def list_(as_json: Json = False) -> None:
    """List the campaigns in force, with what they have spent today and the last decision on each."""
    from streams.cli.render.campaigns import campaigns_table, with_decision

    book = _book()
    decisions = _decisions(book)
    campaigns = sorted((each for shard in book.all() for each in shard), key=lambda each: each.campaign_id)
    rows = [(each, decisions.of([each.campaign_id]).get(each.campaign_id)) for each in campaigns]
    if as_json:
        for each, decision in rows:
            typer.echo(escaped_json(with_decision(each, decision)))
        return
    if not rows:
        typer.echo("no campaign is announced; `clickfold campaigns set CAMPAIGN --new --daily-budget 50` announces one")
        return
    Console().print(campaigns_table(rows))


@app.command()
def show(campaign: CampaignId, as_json: Json = False) -> None:
    """Show one campaign: what is announced, and the last decision on it."""
    from streams.cli.render.campaigns import campaign_table, with_decision

    book = _book()
    in_force = _existing(book.of(campaign), campaign)
    decision = _decisions(book, campaign).of([campaign]).get(campaign)
    if as_json:
        typer.echo(escaped_json(with_decision(in_force, decision)))
    else:
        Console().print(campaign_table(in_force, decision))


@app.command()
def history(campaign: CampaignId, as_json: Json = False) -> None:
    """Show every accepted change of a campaign, with the moment from which it was in force."""
    from schemas.codec import encode
    from streams.cli.render.campaigns import history_table

    changes = _book().history(campaign)
    if not changes:
        raise SettingsError(f"there is no campaign {campaign!r}; `clickfold campaigns list` has those there are")
    if as_json:
        for change in changes:
            typer.echo(escaped_json(encode(change).decode()))
    else:
        Console().print(history_table(changes))


@app.command(name="set")
def set_(
    campaign: CampaignId,
    new: Annotated[bool, typer.Option("--new", help="Announce a campaign that is not there.")] = False,
    daily_budget: Annotated[
        str, typer.Option(metavar="AMOUNT", help="What a day may cost, in units of the currency, such as 50 or 12.50.")
    ] = "",
    timezone: Annotated[
        str, typer.Option(help="IANA name, such as Asia/Tokyo: where its day begins. [default for a new one: UTC]")
    ] = "",
    pacing: Annotated[
        Literal["even", "flat", "asap"] | None,
        typer.Option(
            help="How the budget of a day is spent: by its traffic, by the clock, or as fast as it can. "
            "[default for a new one: even]",
            show_default=False,
        ),
    ] = None,
    curve: Annotated[
        str,
        typer.Option(metavar="SHARES", help="24 or 96 shares of a day's budget that sum to 1, with commas between."),
    ] = "",
    lifetime_budget: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="What the flight from --start to --end may cost; '' for no bound.",
            show_default=False,
        ),
    ] = None,
    hourly_cap: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="What a clock hour may cost; '' for no bound.", show_default=False),
    ] = None,
    dayparts: Annotated[
        str | None,
        typer.Option(
            metavar="HOURS",
            help="When it serves, in its time zone, such as 'mon-fri 9-18, sat 10-14'; '' for always.",
            show_default=False,
        ),
    ] = None,
    shared_budget: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=AMOUNT",
            help="A budget for each day that it shares with all campaigns that name it; '' for none.",
            show_default=False,
        ),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(help="In the shared budget: higher ones have their money first.", show_default="as before, or 0"),
    ] = None,
    frequency: Annotated[
        str | None,
        typer.Option(
            metavar="COUNT/PERIOD",
            help="Most impressions for one user in a period, such as 3/24h; ad servers count; '' for no bound.",
            show_default=False,
        ),
    ] = None,
    min_multiplier: Annotated[
        float | None, typer.Option(help="The least that pacing multiplies bids by.", show_default="as before, or 0.05")
    ] = None,
    max_multiplier: Annotated[
        float | None, typer.Option(help="The most that pacing multiplies bids by.", show_default="as before, or 1")
    ] = None,
    currency: Annotated[str, typer.Option(help="Currency of its amounts, such as EUR; it stays.")] = "",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MOMENT",
            help="First moment of the flight, in its time zone unless it has an offset; '' for none.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="First moment after the flight; '' for none.", show_default=False),
    ] = None,
    max_bid: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The most it bids; '' for none.", show_default=False)
    ] = None,
    advertiser: Annotated[str | None, typer.Option(help="Who runs it; '' for nobody.", show_default=False)] = None,
    wait: Wait = 10,
) -> None:
    """Change fields of a campaign, or announce a new one; what is not given stays."""
    book = _book()
    campaigns = book.of(campaign)
    before = None if new else _existing(campaigns, campaign)
    # One that does not exist is refused with the campaign.
    there = zone(timezone or (before.timezone if before is not None else "UTC")) or UTC
    fields: dict[str, Any] = {
        "daily_budget_micros": micros("--daily-budget", daily_budget) if daily_budget else None,
        "timezone": timezone or None,
        "pacing": "curve" if curve else pacing,
        "curve": shares(curve) if curve else None,
        "min_bid_multiplier": min_multiplier,
        "max_bid_multiplier": max_multiplier,
        "currency": currency or None,
        "priority": priority,
    }
    fields = {field: value for field, value in fields.items() if value is not None}
    if pacing is not None and not curve:
        fields["curve"] = None
    fields |= removable_fields(
        {
            "--lifetime-budget": lifetime_budget,
            "--hourly-cap": hourly_cap,
            "--dayparts": dayparts,
            "--shared-budget": shared_budget,
            "--frequency": frequency,
            "--start": start,
            "--end": end,
            "--max-bid": max_bid,
            "--advertiser": advertiser,
        },
        there,
    )
    if not fields and not new:
        raise SettingsError("nothing is to be changed; give an option, such as --daily-budget 50")
    _change(book, campaigns, campaign, fields, new=new, wait_s=wait)


@app.command()
def pause(campaign: CampaignId, wait: Wait = 10) -> None:
    """Let a campaign enter no auction until it is resumed."""
    _set_status(campaign, "paused", wait_s=wait)


@app.command()
def resume(campaign: CampaignId, wait: Wait = 10) -> None:
    """Let a paused campaign enter auctions again."""
    _set_status(campaign, "active", wait_s=wait)


def _book() -> Book:
    from streams.campaigns.book import Book

    return Book(kafka_cluster())


def _decisions(book: Book, campaign_id: str | None = None) -> Decisions:
    from streams.serve.decisions import Decisions

    decisions = Decisions()
    for key, value in book.decisions(campaign_id):
        decisions.take(key, value)
    return decisions


def _existing(campaigns: Campaigns, campaign_id: str) -> Campaign:
    found = campaigns.in_force(campaign_id)
    if found is None:
        raise SettingsError(
            f"there is no campaign {campaign_id!r}; `clickfold campaigns list` has those there are, "
            "`clickfold campaigns set … --new` announces one"
        )
    return found


def _set_status(campaign_id: str, status: str, *, wait_s: float) -> None:
    book = _book()
    _change(book, book.of(campaign_id), campaign_id, {"status": status}, new=False, wait_s=wait_s)


def _change(
    book: Book, campaigns: Campaigns, campaign_id: str, fields: dict[str, Any], *, new: bool, wait_s: float
) -> None:
    from streams.campaigns.edit import Refusal, next_version

    after = next_version(campaigns, campaign_id, fields, new=new)
    if isinstance(after, Refusal):
        raise SettingsError(after.detail)
    if after == campaigns.in_force(campaign_id):
        typer.echo(escaped(f"{campaign_id} is so already, since version {after.version}"))
        return
    written = book.write(after, wait_s=wait_s)
    said = f"version {after.version} of {campaign_id}"
    match written.fate:
        case "accepted":
            typer.echo(escaped(f"{said} is in force"))
        case "overtaken":
            raise SettingsError(
                f"{said} came after another with that version, which is in force; run the command again"
            )
        case "waiting":
            typer.echo(
                escaped(f"{said} is written; it comes into force once `clickfold worker pace` has judged it"), err=True
            )
