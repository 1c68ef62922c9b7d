"""The commands of `clickfold`. Each is imported when it is called, so that `clickfold --help` takes 0.2 s."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from streams.cli.lazy import Lazy, lazy_group

COMMANDS: Final = {
    "demo": Lazy(
        "streams.cli.commands.demo:demo",
        "Run everything on real input: Kafka, the join, a model, pacing, ClickHouse; compare all with the batch truth.",
    ),
    "up": Lazy(
        "streams.cli.commands.up:up",
        "Start Kafka, ClickHouse and all workers in the background, except those that run already.",
    ),
    "down": Lazy("streams.cli.commands.up:down", "Stop what `clickfold up` started; data stays."),
    "query": Lazy("streams.cli.commands.query:query", "Ask ClickHouse: a named query, or any SQL."),
    "runs": Lazy("streams.cli.commands.runs:app", "List backfills and what they hold; drop them."),
    "backfill": Lazy(
        "streams.cli.commands.backfill:backfill",
        "Replay a range of the logs with other settings, or again, into a run beside live work.",
    ),
    "compare": Lazy(
        "streams.cli.commands.compare:compare",
        "Compare a run with live work, in the minutes it owns that are final in both.",
    ),
    "promote": Lazy(
        "streams.cli.commands.promote:promote",
        "Show a run's figures in place of live work's, in views and queries: minutes, outcomes and clicks.",
    ),
    "export": Lazy(
        "streams.cli.commands.export:export",
        "Write outcomes, minutes or examples for training as Parquet files, one folder an hour, only what is final.",
    ),
    "forget": Lazy(
        "streams.cli.commands.forget:forget",
        "Take users out of ClickHouse for good, and say until when Kafka and kept state still have their ids.",
    ),
    "models": Lazy(
        "streams.cli.commands.models:app", "Look at the models the learner publishes, and choose which is served."
    ),
    "campaigns": Lazy(
        "streams.cli.commands.campaigns:app", "Look at campaigns and change their budgets, flights and state."
    ),
    "verify": Lazy(
        "streams.cli.commands.verify:verify",
        "Recompute from Kafka alone what a run must have written, and compare.",
    ),
    "trace": Lazy(
        "streams.cli.commands.trace:trace",
        "Say what happened to one impression id: where its records are, what was decided, where it is counted.",
    ),
    "rejects": Lazy(
        "streams.cli.commands.rejects:app",
        "List dead letters, show one, and send mended records to the live log again.",
    ),
    "upgrade": Lazy(
        "streams.cli.commands.upgrade:upgrade",
        "Move the join and the learner of the version before to this version, at the offsets they have committed.",
    ),
    "repartition": Lazy(
        "streams.cli.commands.repartition:repartition",
        "Write the records of a topic again, each in the partition that murmur2 of its key gives, exactly once.",
    ),
    "init": Lazy(
        "streams.cli.commands.init:init",
        "Create what is missing: Kafka topics and ClickHouse tables.",
    ),
    "map": Lazy("streams.cli.commands.map:app", "Guess, check and list mappings of your own records."),
    "fold": Lazy(
        "streams.cli.commands.fold:fold",
        "Join logs from files: outcomes as JSON lines on stdout; refused records and a last line of counts on stderr.",
    ),
    "produce": Lazy(
        "streams.cli.commands.produce:produce",
        "Send files to the topics of the inputs as a producer of yours would: mapped, keyed, in the order of event "
        "time.",
    ),
    "learn": Lazy(
        "streams.cli.commands.learn:learn",
        "Predict each outcome of files, then learn it; say how good the predictions were.",
    ),
    "whatif": Lazy(
        "streams.cli.commands.whatif:whatif",
        "Play a day of auctions through the real pacing law and gate; say how the budgets were spent.",
    ),
    "worker": Lazy(
        "streams.cli.commands.worker:app",
        "Run one always-on worker against the Kafka and ClickHouse named by the environment.",
    ),
    "serve": Lazy(
        "streams.cli.commands.serve:serve",
        "Answer calls over HTTP: click probabilities of candidates, pacing decisions on their campaigns.",
    ),
    "bench": Lazy("streams.cli.bench:app", "Measure speed, and in the same run what the machine could reach at most."),
}

app = lazy_group(
    COMMANDS,
    "Joins ad impressions to clicks in Kafka exactly once, learns click probability, paces budgets, fills ClickHouse.",
)


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"clickfold {version('clickfold')}")
        raise typer.Exit


@app.callback()
def clickfold(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Holds the options of `clickfold` itself."""
