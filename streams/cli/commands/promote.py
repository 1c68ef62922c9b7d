"""`clickfold promote`: makes the views show a run, and takes promotions back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from schemas.errors import SettingsError
from schemas.moments import given_ms
from streams.cli.connections import clickhouse_client
from streams.cli.render.answers import Format, write
from streams.cli.render.figures import count
from streams.runs.minutes import DAY_MS, Span, minutes_in, spans_text
from streams.runs.promote import PromotionPlan, day_spans, plan_promotion, plan_undo, preview, write_promotion
from streams.runs.record import MINUTE_MS


class DefaultMinutes(StrEnum):
    """Which minutes of a run are promoted when the command names none."""

    DAYS = "days"
    ALL = "all"


def promote(
    name: Annotated[str, typer.Argument(help="Run to promote.", show_default=False)],
    days: Annotated[str, typer.Option(help="Only these UTC days: 2026-11-01,2026-11-02.")] = "",
    since: Annotated[str, typer.Option("--from", help="First minute, ISO 8601; UTC by default.")] = "",
    until: Annotated[str, typer.Option("--to", help="End of the minutes, which is not included.")] = "",
    minutes: Annotated[
        DefaultMinutes,
        typer.Option(help="Without days or times: whole UTC days that the run owns (days), or all its minutes (all)."),
    ] = DefaultMinutes.DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the run's promotions back: all, or those of the days or times given.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="How the days are written.")] = Format.TABLE,
) -> None:
    """Show a run's figures in place of live work's, in views and queries: minutes, outcomes and clicks.

    Only minutes that are final, in the run and in live work, are promoted. Readers see all of a promotion or none of
    it. Nothing is overwritten: after --undo the views show what they showed before. Pacing does not change: its
    decisions were made from the figures of live work.
    """
    requested = requested_spans(days=days, since=since, until=until)
    if requested and minutes is DefaultMinutes.ALL:
        raise SettingsError("--minutes all and days or times are given; give one of them")
    with clickhouse_client() as client:
        if undo:
            plan = plan_undo(client, name, requested=requested)
        else:
            plan = plan_promotion(client, name, requested=requested, every_minute=minutes is DefaultMinutes.ALL)
        changed = preview(client, plan)
        if not dry_run:
            write_promotion(client, plan)
    write(changed, format_)
    if format_ is Format.TABLE:
        typer.echo(_sentence(plan, dry_run=dry_run))


def requested_spans(*, days: str, since: str, until: str) -> list[Span]:
    """The minutes of --days, or of --from and --to; empty when no option is given. Raises SettingsError."""
    if days and (since or until):
        raise SettingsError("--days and --from or --to are given; give one of them")
    if bool(since) != bool(until):
        raise SettingsError(f"--{'to' if since else 'from'} is missing; give both, such as --from 2026-11-01 --to …")
    if days:
        starts = [_moment_ms("--days", day) for day in days.split(",")]
        for day, start_ms in zip(days.split(","), starts, strict=True):
            if start_ms % DAY_MS:
                raise SettingsError(f"--days {day!r} is not a day; write it as 2026-11-01")
        return day_spans(starts)
    if not since:
        return []
    span = Span(_moment_ms("--from", since), _moment_ms("--to", until))
    if span.from_ms >= span.to_ms:
        raise SettingsError(f"--from {since} is not before --to {until}")
    return [span]


def _moment_ms(option: str, text: str) -> int:
    ts_ms = given_ms(option, text)
    if ts_ms % MINUTE_MS:
        raise SettingsError(f"{option} {text!r} is inside a minute; minutes are promoted whole: leave out the seconds")
    return ts_ms


def _sentence(plan: PromotionPlan, *, dry_run: bool) -> str:
    verb = "taken back" if plan.undo else "promoted"
    text = (
        f"{'Would be ' if dry_run else ''}{verb}: run {plan.run}, {count(minutes_in(plan.spans))} minutes "
        f"({spans_text(plan.spans)}). "
        f"Views {'would' if dry_run else 'now'} read {count(plan.changes)} of them from another run."
    )
    if plan.not_final:
        text += f" Left out: {count(plan.not_final)} minutes that may still change in the run or in live work."
    return text
