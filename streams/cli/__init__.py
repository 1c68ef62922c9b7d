"""The `clickfold` command: one file a group of subcommands; errors are one sentence, never a traceback."""

from __future__ import annotations

import sys

import typer

from schemas.errors import ClickfoldError
from streams.cli import bench, demo, fold, init, models, query, up, worker

app = typer.Typer(
    name="clickfold",
    help="Joins ad impressions to clicks in Kafka exactly once, learns click probability, paces budgets, fills "
    "ClickHouse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("down")(up.down)
app.command("query")(query.query_command(up.some_clickhouse))
app.add_typer(models.models_app(up.some_cluster), name="models")
app.command("init")(init.init)
app.command("fold")(fold.fold)
app.add_typer(worker.app, name="worker")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point. Exit code 2 for wrong settings or a fault that was named, 130 after Ctrl-C."""
    try:
        app()
    except ClickfoldError as error:
        print(f"clickfold: {error}", file=sys.stderr)  # noqa: T201  # the terminal is the place for it
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
