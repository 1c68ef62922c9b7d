"""`clickfold map`: guesses a mapping from files, and shows what a mapping gives before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.cli.lazy import command_group
from streams.cli.mapping import read_mapping_file
from streams.cli.mapping_report import Report, lines
from streams.cli.render.escape import escaped
from streams.cli.written_file import written_file
from streams.inputs.given import given
from streams.inputs.opening import Source, as_given
from streams.inputs.samples import first_records
from streams.mapping.guess import Sample
from streams.mapping.guess import guess as guessed
from streams.mapping.language import Table
from streams.mapping.ready import ready, ready_names, title

app = command_group("Guess, check and list mappings of your own records.", no_args_is_help=True)

_SAMPLE_RECORDS = 1_000
_MOST_FILES = 2


@app.command()
def guess(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            parser=given,
            help="A file with both inputs or with one of them, or one of each, in any format that `fold` reads.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the mapping here.", show_default=False)
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Records of each file to look at.")] = _SAMPLE_RECORDS,
) -> None:
    """Look at a sample of files and write a mapping with a comment on each guess.

    Look at the comments, correct what is wrong, then run `clickfold map check`.
    """
    if len(files) > _MOST_FILES:
        raise SettingsError(f"{len(files)} files are given; give one that has both inputs, or one of each")
    sources = [Source(as_given(path), "sample", table=Table()) for path in files]
    text = guessed([Sample(source.name, first_records(source, sample)) for source in sources])
    if output is None:
        for line in text.splitlines():
            typer.echo(escaped(line))
        return
    with written_file(output, "mapping") as file:
        file.write(text.encode())


@app.command()
def check(
    impressions: options.ImpressionFiles,
    clicks: options.ClickFiles,
    mapping: options.MappingOption = "",
    sample: Annotated[int, typer.Option(min=1, help="Good records of each log to look at.")] = 100_000,
    json: Annotated[bool, typer.Option("--json", help="Write the findings as one JSON object.")] = False,
) -> None:
    """Show what a mapping makes of files: accepted, refused and joined examples, and the delays of clicks.

    It suggests `--window`, `--skew` and `--lateness`. Ends with code 3 when the result of a run could not be used.
    """
    mapped = read_mapping_file(mapping)
    report = Report.of(mapped.logs(impressions, clicks), sample)
    if json:
        sys.stdout.buffer.write(orjson.dumps(report.figures() | mapped.identity(), option=orjson.OPT_APPEND_NEWLINE))
    else:
        for line in lines(report):
            typer.echo(escaped(line))
    for fault in report.faults():
        sys.stderr.write(f"clickfold: {escaped(fault)}\n")
    if report.faults():
        raise typer.Exit(3)


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
