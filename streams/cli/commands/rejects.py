"""`clickfold rejects`: lists dead letters, shows one, and sends mended records to the live log again."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
import orjson
import typer

from streams.cli.beside_up import input_maps_beside_up, options_beside_up
from streams.cli.commands import options
from streams.cli.connections import kafka_cluster
from streams.cli.lazy import command_group
from streams.cli.mapping import read_mapping_file, value_schemas
from streams.cli.render.escape import escaped, escaped_json
from streams.cli.render.records_bar import records_bar
from streams.cli.render.rejects import group_lines, letter_lines, redrive_lines, remedy
from streams.kafka.cluster import Cluster
from streams.mapping.mending import Mender
from streams.redrive.letters import Letters, Spot, grouped, reasons_named
from streams.redrive.originals import Gone, original
from streams.redrive.run import Redrive, the_one

app = command_group("List dead letters, show one, and send mended records to the live log again.", no_args_is_help=True)

_INPUTS = ("impressions", "clicks")
Reasons = Annotated[str, typer.Option("--reason", help="Reasons, separated by commas. [default: all]")]
From = Annotated[
    str, typer.Option("--from", help="Where to begin in ads.rejects: earliest, time:2026-11-01T00:00Z, or rejects:0=5.")
]
To = Annotated[str, typer.Option("--to", help="Where to end in ads.rejects, exclusive; written as --from, or latest.")]
Json = Annotated[bool, typer.Option("--json", help="Write the answer as one JSON object.")]


@app.command("list")
def list_groups(reason: Reasons = "", from_: From = "earliest", to: To = "latest", json: Json = False) -> None:
    """List dead letters by topic and reason: how many, the newest, and what to do about them."""
    cluster = kafka_cluster()
    with contextlib.ExitStack() as cleanup:
        groups = grouped(_letters(cleanup, cluster, reason, from_, to))
    if json:
        _write_json(
            [
                {
                    "topic": group.topic,
                    "reason": group.reason,
                    "count": group.count,
                    "redriven": group.redriven,
                    "newest": _fields(group.newest),
                    "remedy": remedy(group.reason),
                }
                for group in groups
            ]
        )
    else:
        _write(group_lines(groups))


@app.command()
def show(
    place: Annotated[str, typer.Argument(metavar="TOPIC/PARTITION@OFFSET", help="The record, as `list` names it.")],
    json: Json = False,
) -> None:
    """Show one dead letter: its record, why it was refused, and what to do about it."""
    spot = Spot.of(place)
    cluster = kafka_cluster()
    with contextlib.ExitStack() as cleanup:
        letter = the_one(_letters(cleanup, cluster, "", "earliest", "latest"), spot)
    found = original(cluster, spot)
    gone = str(found) if isinstance(found, Gone) else ""
    value = letter.prefix if isinstance(found, Gone) else found.value
    if json:
        text = value.decode(errors="backslashreplace") if value is not None else None
        _write_json({**(_fields(letter) or {}), "gone": gone, "value": text, "remedy": remedy(letter.reason)})
    else:
        log = next((log for log in _INPUTS if cluster.topic(log) == spot.topic), None)
        _write(letter_lines(letter, log, value, gone))


@app.command()
def redrive(
    context: typer.Context,
    reason: Reasons = "",
    mapping: options.MappingOption = "",
    at: Annotated[
        str, typer.Option("--at", metavar="TOPIC/PARTITION@OFFSET", help="Only the dead letter of this record.")
    ] = "",
    from_: From = "earliest",
    to: To = "latest",
    older: Annotated[
        bool,
        typer.Option(
            "--older", help="Send records too that the live join refuses as late: a backfill takes them from the log."
        ),
    ] = False,
    lateness: options.Lateness = "2m",
    input_map: options.InputMap = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    json: Json = False,
) -> None:
    """Read the originals of dead letters, mend them, and send what the live join still accepts, each once.

    Without --map a record is sent as it is, under its impression id: that mends wrong keys, and clocks that were ahead.
    --lateness and --input-map are those of the live join; beside `clickfold up` they are those that `up` was given.
    """
    spot = Spot.of(at) if at else None
    mapped = read_mapping_file(mapping)
    cluster = kafka_cluster()
    with contextlib.ExitStack() as cleanup:
        own_forms = input_maps_beside_up(context, input_map).of
        mender = Mender(own_forms=own_forms)
        if mapped.file is not None:
            read = mapped.read(cleanup.enter_context(value_schemas()))
            mender = Mender(mapped.inputs, mapped.file.digest, read, own_forms)
        letters = _letters(cleanup, cluster, reason, from_, to)
        work = Redrive(
            cluster,
            mender,
            lateness_ms=options.duration_ms("--lateness", options_beside_up(context).get("--lateness", lateness)),
            dry_run=dry_run,
            older=older,
        )
        found = work.run(letters if spot is None else [the_one(letters, spot)])
    if json:
        _write_json(
            {
                "dead_letters": found.looked,
                "redriven_before": found.before,
                "dry_run": dry_run,
                "sent": dict(found.sent),
                "gone": [{"at": str(where), "why": why} for where, why in found.gone],
                "refused": {
                    str(reason): {"count": each.records, "first": str(each.first), "detail": each.detail}
                    for reason, each in found.refused.items()
                },
                "older": [{**each._asdict(), "spot": str(each.spot)} for each in found.older],
            }
        )
    else:
        topics = {log: cluster.topic(log) for log in _INPUTS}
        _write(redrive_lines(found, dry_run=dry_run, topics=topics, mapping=mapping))


def _letters(cleanup: contextlib.ExitStack, cluster: Cluster, reason: str, from_: str, to: str) -> Letters:
    """The dead letters, with a bar while they are read."""
    reasons = reasons_named(reason)
    bar = cleanup.enter_context(records_bar())
    task = bar.add_task("dead letters", total=None)
    return Letters(
        cluster,
        from_,
        to,
        reasons,
        on_more=lambda offsets: bar.update(task, total=offsets),
        on_read=lambda offsets: bar.advance(task, offsets),
    )


def _fields(letter: Any) -> dict[str, Any] | None:
    """A dead letter without its bytes."""
    if letter is None:
        return None
    fields: dict[str, Any] = msgspec.to_builtins(letter)
    del fields["prefix"]
    return fields


def _write(lines: Iterable[str]) -> None:
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in map(escaped, lines):
        inner = " " * (len(line) - len(line.lstrip()))
        wrapped = textwrap.wrap(line, max(columns, 60), subsequent_indent=inner + "  ", break_on_hyphens=False)
        for piece in wrapped if columns else [line]:
            sys.stdout.write(f"{piece}\n")


def _write_json(answer: Any) -> None:
    text = orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    sys.stdout.write(escaped_json(text))
