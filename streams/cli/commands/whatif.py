"""`clickfold whatif`: a day of auctions under a way of pacing, from a made-up market or from a log."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console

from schemas.dayparts import hours_of_week
from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.cli.render.escape import escaped
from streams.inputs.given import given

if TYPE_CHECKING:
    from streams.market.figures import Figures
    from streams.market.run import Day, Reference
    from streams.market.scenario import Scenario

_CHANGES_BIDS = ("law", "descent")
_KNOWS_HOURS = ("law", "throttle")


def whatif(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE…",
            parser=given,
            help="A log of won impressions: ts, campaign_id, price_micros, pctr, clicked, click_delay_ms, and if known "
            "admit and price_to_beat_micros. Without files a market is made up.",
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="law, throttle (the law without bid multipliers), former (the controller of version 0.1), stop, "
            "hourly, pid, linkedin, smart or descent."
        ),
    ] = "law",
    scenario: Annotated[
        str, typer.Option(help="What happens on the day, such as normal, join-down-night; `list` names all.")
    ] = "normal",
    seed: Annotated[int, typer.Option(min=0, help="Draws the market.")] = 1,
    campaigns: Annotated[int, typer.Option(min=1, max=1000, help="Campaigns of the made-up market.")] = 60,
    auctions: Annotated[float, typer.Option(min=0.1, max=300, help="Its mean number of auctions a second.")] = 20.0,
    servers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Ad servers. [default: those of the scenario]", show_default=False)
    ] = None,
    refresh: Annotated[str, typer.Option(help="How often an ad server looks for decisions.")] = "2s",
    late: Annotated[str, typer.Option(help="How old a decision is before an ad server can use it.")] = "2s",
    window: Annotated[
        str | None, typer.Option(help="Attribution window. [default: that of the scenario]", show_default=False)
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0.001, help="With files: each campaign's daily budget over what the log spent a day.")
    ] = 0.5,
    hourly_cap: Annotated[
        float, typer.Option(min=0, max=1, help="What a campaign may spend in an hour, as a part of its budget; 0: all.")
    ] = 0.0,
    dayparts: Annotated[
        str,
        typer.Option(help="Hours of the week, UTC, in which campaigns serve, such as 'mon-fri 9-18'. [default: all]"),
    ] = "",
    height: Annotated[int, typer.Option(min=5, max=200, help="Lines of the chart.")] = 16,
    png: Annotated[
        Path | None, typer.Option(help="Also write the chart as PNG; needs the extra `plots`.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write the figures as one JSON object, and no chart.")] = False,
) -> None:
    """Play a day of auctions through the real pacing law and gate; say how the budgets were spent.

    It needs no broker. A market is made up from a seed, or the auctions of a log are played again.
    """
    from streams.market.figures import figures
    from streams.market.scenario import Server
    from streams.market.scenarios import SCENARIOS

    if scenario not in SCENARIOS:
        wrong = "" if scenario == "list" else f"scenario {scenario!r} is not known; "
        raise SettingsError(f"{wrong}choose from {', '.join(SCENARIOS)}")
    chosen = replace(SCENARIOS[scenario], campaigns=campaigns, auctions_per_s=auctions)
    if servers is not None:
        refresh_s, late_s = (options.duration_ms(*each) // 1000 for each in (("--refresh", refresh), ("--late", late)))
        if refresh_s < 1:
            raise SettingsError(f"--refresh {refresh} is below a second; give at least 1s")
        chosen = replace(chosen, servers=(Server(refresh_s, late_s),) * servers)
    if hourly_cap or dayparts:
        chosen = _within_hours(chosen, policy, hourly_cap, dayparts)
    if window is not None:
        chosen = replace(chosen, window_s=_window_s(window))
    day, reference = _logged(files, policy, chosen, budget, seed) if files else _made_up(policy, chosen, seed)
    found = figures(day, reference)
    if json:
        shown = found._asdict() | {"campaigns": len(day.budgets), "policy": policy, "scenario": scenario, "seed": seed}
        sys.stdout.buffer.write(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE))
    else:
        _show(found, day, reference, height)
    if png is not None:
        from streams.cli.render.pacing_plots import write_png

        write_png(png, day, reference)
        sys.stderr.write(escaped(f"wrote {png}") + "\n")


def _within_hours(scenario: Scenario, policy: str, hourly_cap: float, dayparts: str) -> Scenario:
    if policy not in _KNOWS_HOURS:
        raise SettingsError(
            f"--policy {policy} knows no hourly caps and dayparts; choose from {', '.join(_KNOWS_HOURS)}"
        )
    try:
        hours_of_week(dayparts or "mon-sun 0-24")
    except ValueError as error:
        raise SettingsError(f"--dayparts: {error}") from None
    return replace(scenario, hourly_cap=hourly_cap, dayparts=dayparts)


def _window_s(window: str) -> int:
    seconds = options.duration_ms("--window", window) // 1000
    if not 60 <= seconds <= 3 * 3600:
        raise SettingsError(f"--window {window} is not between 1m and 3h, which is what the law can learn from totals")
    return seconds


def _made_up(policy: str, scenario: Scenario, seed: int) -> tuple[Day, Reference]:
    from streams.market.policies import make_policy
    from streams.market.run import Run, referred

    reference = referred(scenario, seed)
    run = Run(scenario, seed, make_policy(policy), reference.budgets)
    progress = sys.stderr.isatty()

    def watch(minute: int) -> None:
        if progress:
            sys.stderr.write(f"\r{minute // 60 + 1:2} h of the day " + ("\n" if minute == 1439 else ""))

    return run.judged(watch=watch), reference


def _logged(files: list[Path], policy: str, scenario: Scenario, budget: float, seed: int) -> tuple[Day, Reference]:
    from streams.inputs.auctions import read_auctions
    from streams.market.logged import Log, play_log
    from streams.market.policies import make_policy

    log = Log.of(read_auctions(files))
    if not log.tells_more:
        if policy == "descent":
            raise SettingsError("--policy descent lowers bids, and this log has no price_to_beat_micros and admit")
        sys.stderr.write(
            "This log has no admit and price_to_beat_micros in every row: it cannot tell what a larger budget or "
            "another bid would have bought. Shares are of the auctions that it has, and bids stay as they were.\n"
        )
        if policy in _CHANGES_BIDS:
            policy = "throttle"
    return play_log(log, log.spend().mean(1) * budget, make_policy(policy), scenario, seed=seed)


def _show(found: Figures, day: Day, reference: Reference, height: int) -> None:
    from streams.cli.render.charts import Canvas
    from streams.cli.render.pacing import chart, summary, worst

    console = Console()
    for line in summary(found, day):
        typer.echo(escaped(line))
    console.print(worst(day, reference))
    colours = console.color_system is not None and not console.no_color
    console.print(chart(day, Canvas(console.width, height, colours=colours)))
