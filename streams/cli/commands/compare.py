"""`clickfold compare`: how a backfill's run differs from live work, or from another run."""

from __future__ import annotations

import sys
from typing import Annotated

import orjson
import typer

from schemas.clickhouse.queries import Table
from streams.cli.connections import clickhouse_client
from streams.cli.render.answers import Format, write
from streams.cli.render.escape import escaped_json
from streams.cli.render.figures import count, decimal
from streams.runs.compare import GROUPS, Comparison
from streams.runs.compare import compare as compare_runs
from streams.runs.compare_models import ModelComparison, compare_models
from streams.runs.record import ACTIVE, LIVE, known_run


def compare(
    name: Annotated[str, typer.Argument(help="Run to compare.", show_default=False)],
    against: Annotated[
        str, typer.Option(help="live, another run, or active: what the views show, with promoted runs.")
    ] = "live",
    by: Annotated[str, typer.Option(help="Group differences by some of table, minute and campaign.")] = ",".join(
        GROUPS
    ),
    rows: Annotated[int, typer.Option(min=0, help="Show at most this many differences.")] = 20,
    format_: Annotated[Format, typer.Option("--format", help="How the answer is written.")] = Format.TABLE,
) -> None:
    """Compare a run with live work, in the minutes it owns that are final in both. Exit code 1 if they differ.

    Live work means the rows that it wrote, even where the views show a promoted run. For a run of models the measures
    of its windows are compared.
    """
    other = LIVE if against == "live" else against
    with clickhouse_client() as client:
        if known_run(client, name).kind == "models":
            models = compare_models(client, name, against=other, rows=rows)
            write_models(models, format_)
            equal = models.equal
        else:
            groups = [group.strip() for group in by.split(",") if group.strip()]
            comparison = compare_runs(client, name, against=other, by=groups, rows=rows)
            _write(comparison, format_)
            equal = comparison.equal
    if not equal:
        raise typer.Exit(1)


def _write(comparison: Comparison, format_: Format) -> None:
    other_label = _run_label(comparison.against)
    if format_ is Format.CSV:
        write(comparison.differences, format_)
        return
    if format_ is Format.JSON:
        tables = [
            {
                "table": each.table, "minutes": each.minutes, "minutes_not_there": each.not_there, "equal": each.equal,
                "minutes_differ": each.minutes_differ,
                "sums": {measure: {"run": run_sum, "against": other_sum} for measure, run_sum, other_sum in each.sums},
            }
            for each in comparison.tables
        ]  # fmt: skip
        _json(
            {
                "run": comparison.run, "against": other_label, "equal": comparison.equal,
                "minutes_not_final": comparison.not_final, "tables": tables,
                "differences": _dicts(comparison.differences),
            }
        )  # fmt: skip
        return
    for each in comparison.tables:
        left_out = f", {count(each.not_there)} left out: {other_label} does not have them" if each.not_there else ""
        typer.echo(f"{each.table}: {count(each.minutes)} minutes compared{left_out}")
    if comparison.not_final:
        typer.echo(f"{count(comparison.not_final)} minutes left out: not final in both")
    if comparison.equal:
        typer.echo(f"Run {comparison.run} equals {other_label} in all of them, in every measure.")
        return
    for each in comparison.tables:
        if not each.equal:
            typer.echo(f"\n{each.table}: {count(each.minutes_differ)} minutes differ. Sums:")
            rows = [[measure, run_sum, other_sum, run_sum - other_sum] for measure, run_sum, other_sum in each.sums]
            write(Table(("measure", "run", "against", "difference"), ("String", *["Int64"] * 3), rows), format_)
    if comparison.differences.rows:
        typer.echo("\nFirst differences:")
        write(comparison.differences, format_)


def write_models(comparison: ModelComparison, format_: Format) -> None:
    """Writes the measures of a run of models by window, next to those it is compared with, to standard output."""
    other_label = _run_label(comparison.against)
    if format_ is Format.JSON:
        log_loss = {"run": comparison.log_loss[0], "against": comparison.log_loss[1]}
        _json(
            {
                "run": comparison.run, "against": other_label, "equal": comparison.equal, "windows": comparison.windows,
                "windows_differ": comparison.differ, "log_loss": log_loss, "beside": _dicts(comparison.beside),
            }
        )  # fmt: skip
        return
    if format_ is Format.TABLE:
        run_loss, other_loss = (decimal(value, 6) for value in comparison.log_loss)
        typer.echo(
            f"{count(comparison.windows)} windows, {count(comparison.differ)} differ or exist in only one of both; "
            f"log loss {run_loss} in run {comparison.run}, {other_loss} in {other_label}.",
        )
    write(comparison.beside, format_)


def _run_label(against: str) -> str:
    return {LIVE: "live", ACTIVE: "what is shown"}.get(against, against)


def _dicts(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _json(value: object) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    sys.stdout.write(escaped_json(text))
