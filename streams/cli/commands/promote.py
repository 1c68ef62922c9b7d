"""`clickfold promote`: has the views show a run, and takes that back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from schemas.errors import SettingsError
from schemas.moments import FORMS, moment_ms
from streams.cli.connections import clickhouse_client
from streams.cli.render.answers import Format, write
from streams.cli.render.figures import count
from streams.runs.minutes import DAY_MS, Span, minutes_in, named
from streams.runs.promote import Plan, carry_out, days_named, plan_promotion, plan_undo, preview
from streams.runs.record import MINUTE_MS


class Reach(StrEnum):
    """Which minutes of a run are promoted when none are named."""

    DAYS = "days"
    ALL = "all"


def promote(
    name: Annotated[str, typer.Argument(help="Run to promote.", show_default=False)],
    days: Annotated[str, typer.Option(help="Only these UTC days: 2026-11-01,2026-11-02.")] = "",
    since: Annotated[str, typer.Option("--from", help="First minute, ISO 8601; UTC by default.")] = "",
    until: Annotated[str, typer.Option("--to", help="First minute no longer included.")] = "",
    minutes: Annotated[
        Reach, typer.Option(help="days: all whole UTC days it owns; all: all minutes it owns.")
    ] = Reach.DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the run's promotions back: all, or those of the days or times given.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the days are written.")] = Format.TABLE,
) -> None:
    """Show a run's figures in place of live work's, in views and queries: minutes, outcomes and clicks.

    Only minutes that are final, in the run and in live work, are promoted. Readers see all of a promotion or none of
    it. Nothing is overwritten: --undo shows again what was shown before. Pacing does not change: it has used the
    figures of live work, and what was spent stays spent.
    """
    asked = asked_for(days=days, since=since, until=until)
    if asked and minutes is Reach.ALL:
        raise SettingsError("--minutes all and days or times are given; give one of them")
    with clickhouse_client() as client:
        if undo:
            plan = plan_undo(client, name, asked=asked)
        else:
            plan = plan_promotion(client, name, asked=asked, every_minute=minutes is Reach.ALL)
        changed = preview(client, plan)
        if not dry_run:
            carry_out(client, plan)
    write(changed, format_)
    if format_ is Format.TABLE:
        typer.echo(_sentence(plan, dry_run=dry_run))


def asked_for(*, days: str, since: str, until: str) -> list[Span]:
    """The minutes of --days, or of --from and --to; none when nothing is given. Raises SettingsError."""
    if days and (since or until):
        raise SettingsError("--days and --from or --to are given; give one of them")
    if bool(since) != bool(until):
        raise SettingsError(f"--{'to' if since else 'from'} is missing; give both, such as --from 2026-11-01 --to …")
    if days:
        starts = [_moment_ms("--days", day) for day in days.split(",")]
        for day, start_ms in zip(days.split(","), starts, strict=True):
            if start_ms % DAY_MS:
                raise SettingsError(f"--days {day!r} is not a day; write it as 2026-11-01")
        return days_named(starts)
    if not since:
        return []
    span = Span(_moment_ms("--from", since), _moment_ms("--to", until))
    if span.from_ms >= span.to_ms:
        raise SettingsError(f"--from {since} is not before --to {until}")
    return [span]


def _moment_ms(option: str, text: str) -> int:
    try:
        ts_ms = moment_ms(text)
    except ValueError as error:
        raise SettingsError(f"{option} {text!r} is not a time; write it as {FORMS}") from error
    if ts_ms % MINUTE_MS:
        raise SettingsError(f"{option} {text!r} is inside a minute; minutes are promoted whole: leave out the seconds")
    return ts_ms


def _sentence(plan: Plan, *, dry_run: bool) -> str:
    verb = "taken back" if plan.undo else "promoted"
    text = (
        f"{'Would be ' if dry_run else ''}{verb}: run {plan.run}, {count(minutes_in(plan.spans))} minutes "
        f"({named(plan.spans)}); {count(plan.changes)} are read from elsewhere {'then' if dry_run else 'now'}."
    )
    if plan.not_final:
        text += f" Left out: {count(plan.not_final)} minutes of that may still change in it or in live work."
    return text
