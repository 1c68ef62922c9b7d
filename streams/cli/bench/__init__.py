"""`clickfold bench …`: how fast, measured beside the ceiling of the same machine in the same run."""

import typer

from streams.cli.bench.join import join
from streams.cli.bench.queries import queries
from streams.cli.bench.recovery import recovery
from streams.cli.bench.sink import sink

app = typer.Typer(help="Measure, beside the ceiling of the same machine in the same run.")
app.command("join")(join)
app.command("recovery")(recovery)
app.command("sink")(sink)
app.command("queries")(queries)
