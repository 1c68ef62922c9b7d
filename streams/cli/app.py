"""The commands of `clickfold`: one file a group of them."""

from __future__ import annotations

import typer

from streams.cli import bench
from streams.cli.commands import backfill, compare, demo, fold, init, models, promote, query, runs, up, verify, worker

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
app.add_typer(runs.runs_app(up.some_clickhouse), name="runs")
app.command("backfill")(backfill.backfill)
app.command("compare")(compare.compare_command(up.some_clickhouse))
app.command("promote")(promote.promote_command(up.some_clickhouse))
app.add_typer(models.models_app(up.some_cluster), name="models")
app.command("verify")(verify.verify)
app.command("init")(init.init)
app.command("fold")(fold.fold)
app.add_typer(worker.app, name="worker")
app.add_typer(bench.app, name="bench")
