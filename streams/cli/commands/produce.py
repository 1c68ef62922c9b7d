"""`clickfold produce`: sends files to the topics of impressions, clicks and campaigns."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import orjson
import typer

from schemas.errors import SettingsError
from streams.cli.commands import options
from streams.cli.connections import kafka_cluster
from streams.cli.mapping import read_mapping_file
from streams.cli.reading_bar import ReadingBar
from streams.cli.render.escape import escaped
from streams.inputs.files import read_campaigns
from streams.inputs.given import given
from streams.inputs.production import Interrupted, Production
from streams.inputs.sendable import Sendable


def produce(
    impressions: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH…", parser=given, help=options.FILES_HELP, show_default=False),
    ] = None,
    clicks: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH…", parser=given, help="The same of clicks.", show_default=False),
    ] = None,
    campaigns: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH…", parser=given, help="Campaigns, which are sent first.", show_default=False),
    ] = None,
    mapping: options.MappingOption = "",
    speed: Annotated[str, typer.Option(help=options.SPEED_HELP)] = "max",
    skip_impressions: Annotated[
        int, typer.Option(min=0, help="Pass over so many lines of the impressions, as a run that was stopped says.")
    ] = 0,
    skip_clicks: Annotated[int, typer.Option(min=0, help="The same of clicks.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Write the summary as one JSON object.")] = False,
) -> None:
    """Send files to the topics of the inputs as a producer of yours would: mapped, keyed, in the order of event time.

    Records that the join would refuse by themselves are not sent; the summary says how many, where the first is and
    why. Ends with code 3 when nothing of a log was sent, or more than half of it was refused.
    """
    if not (impressions or clicks or campaigns):
        raise SettingsError("no file is given; give --impressions, --clicks, --campaigns or several of them")
    event_speed = options.event_speed(speed, None)
    mapped = read_mapping_file(mapping)
    begin = {"impressions": skip_impressions, "clicks": skip_clicks}
    logs = mapped.logs(impressions or [], clicks or [], both=False, begin=begin)
    work = Production(
        kafka_cluster(),
        {log: Sendable(files) for log, files in logs.items()},
        read_campaigns(campaigns) if campaigns else [],
        speed=event_speed,
        begin=begin,
    )
    with ReadingBar(logs.values(), beside_output=True) as bar, _stopped_by_signals(work) as stop:
        error = work.run(stop, bar.show)
    if json:
        figures = work.figures() | mapped.identity()
        sys.stdout.buffer.write(orjson.dumps(figures, option=orjson.OPT_APPEND_NEWLINE))
    else:
        for line in work.lines():
            typer.echo(escaped(line))
    if error is not None:
        raise error
    if not work.is_done:
        raise typer.Exit(130)
    faults = work.faults()
    for fault in faults:
        sys.stderr.write(f"clickfold: {escaped(fault)}\n")
    if faults:
        raise typer.Exit(3)


@contextmanager
def _stopped_by_signals(work: Production) -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; while files are read, as from a pipe, it does not wait for more.

    The second one ends the command at once.
    """
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if work.is_reading:
            raise Interrupted

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
