"""`clickfold map`: guesses a mapping from files or topics, and shows what a mapping gives before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer

from schemas.errors import SettingsError
from schemas.reading import Unreadable
from schemas.records import Headers
from streams.cli.commands import options
from streams.cli.connections import kafka_cluster
from streams.cli.lazy import command_group
from streams.cli.mapping import Mapped, read_mapping_file, value_schemas
from streams.cli.mapping_report import Report, lines
from streams.cli.render.escape import escaped
from streams.cli.written_file import written_file
from streams.ingest.said import telling
from streams.ingest.schemas import Schemas, reading
from streams.inputs.given import given
from streams.inputs.opening import Source, as_given
from streams.inputs.samples import first_records
from streams.inputs.sendable import ReadLog
from streams.inputs.topics import TopicLog, first_of_topic, topic_named
from streams.mapping.guess import Sample
from streams.mapping.guess import guess as guessed
from streams.mapping.language import Table
from streams.mapping.ready import ready, ready_names, title
from streams.mapping.rows import Rows

app = command_group("Guess, check and list mappings of your own records.", no_args_is_help=True)

_SAMPLE_RECORDS = 1_000
_MOST_FILES = 2


@app.command()
def guess(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|kafka:TOPIC…",
            parser=given,
            help="A file or a topic with both inputs or with one of them, or one of each: files in any format that "
            "`fold` reads, topics with any values that `worker ingest` reads.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the mapping here.", show_default=False)
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Records of each file to look at.")] = _SAMPLE_RECORDS,
) -> None:
    """Look at a sample of files or topics and write a mapping with a comment on each guess.

    Of a topic it reads the newest records, as many of each partition.
    Look at the comments, correct what is wrong, then run `clickfold map check`.
    """
    if len(files) > _MOST_FILES:
        raise SettingsError(f"{len(files)} files are given; give one that has both inputs, or one of each")
    with value_schemas() as schemas:
        text = guessed([_sample(path, sample, schemas) for path in files])
    if output is None:
        for line in text.splitlines():
            typer.echo(escaped(line))
        return
    with written_file(output, "mapping") as file:
        file.write(text.encode())


def _sample(given_as: Path, most: int, schemas: Schemas | None) -> Sample:
    topic = topic_named(given_as)
    if topic is not None:
        whole, told = reading((), schemas, with_headers=True), 0

        def read(values: Sequence[bytes | None], headers: Sequence[Headers]) -> tuple[Rows, Mapping[int, Unreadable]]:
            nonlocal told
            told += telling(headers)
            return whole(values, headers)

        records = first_of_topic(kafka_cluster(), topic, most, read)
        return Sample(f"topic {topic}", records, headers=told > 0)
    source = Source(as_given(given_as), "sample", table=Table())
    return Sample(source.name, first_records(source, most))


@app.command()
def check(
    impressions: Annotated[
        list[Path],
        typer.Option(metavar="PATH…", parser=given, help=f"{options.FILES_HELP} Or topics: kafka:TOPIC."),
    ],
    clicks: options.ClickFiles,
    mapping: options.MappingOption = "",
    sample: Annotated[
        int, typer.Option(min=1, help="Good records of each log to look at; of topics the newest.")
    ] = 100_000,
    json: Annotated[bool, typer.Option("--json", help="Write the findings as one JSON object.")] = False,
) -> None:
    """Show what a mapping makes of files or topics: accepted, refused and joined examples, and the delays of clicks.

    It says how far event time is out of order, within a file or partition and across them, and suggests `--window`,
    `--skew` and `--lateness`. Ends with code 3 when the result of a run could not be used.
    """
    mapped = read_mapping_file(mapping)
    with value_schemas() as schemas:
        logs = _logs(mapped, impressions, clicks, sample, schemas)
        report = Report.of(logs, sample, mapped.inputs)
    if json:
        sys.stdout.buffer.write(orjson.dumps(report.figures() | mapped.identity(), option=orjson.OPT_APPEND_NEWLINE))
    else:
        for line in lines(report):
            typer.echo(escaped(line))
    for fault in report.faults():
        sys.stderr.write(f"clickfold: {escaped(fault)}\n")
    if report.faults():
        raise typer.Exit(3)


def _logs(
    mapped: Mapped, impressions: list[Path], clicks: list[Path], sample: int, schemas: Schemas | None
) -> dict[str, ReadLog]:
    """Both logs, each of files or of topics. Raises SettingsError."""
    given = {"impressions": impressions, "clicks": clicks}
    topics = {log: [name for path in paths if (name := topic_named(path)) is not None] for log, paths in given.items()}
    for log, names in topics.items():
        if names and len(names) < len(given[log]):
            raise SettingsError(
                f"--{log} names files and topics; give either, because only topics have times of arrival"
            )
    files: dict[str, list[Path]] = {log: [] if topics[log] else paths for log, paths in given.items()}
    logs: dict[str, ReadLog] = {**mapped.logs(files["impressions"], files["clicks"], both=False)}
    for log, names in topics.items():
        if names:
            inputs = mapped.inputs.get(log)
            logs[log] = TopicLog(kafka_cluster(), names, log, mapping=inputs, read=mapped.read(schemas), most=sample)
    return {log: logs[log] for log in given}


@app.command("list")
def list_ready() -> None:
    """List the ready mappings; `--map NAME` uses one."""
    for name in ready_names():
        typer.echo(f"{name:<24}{title(name)}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A ready mapping, see `map list`.")]) -> None:
    """Write a ready mapping to standard output, as the beginning of your own."""
    text = ready(name)
    if text is None:
        raise SettingsError(f"there is no ready mapping {name!r}; there are {', '.join(ready_names())}")
    typer.echo(text, nl=False)
