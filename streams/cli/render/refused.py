"""Says on standard error which records of files were refused or late, and why the result cannot be used."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from streams.cli.render.escape import escaped
from streams.inputs.files import FileLog
from streams.inputs.left_out import LeftOut
from streams.inputs.tally import Tally, faults


def show_refused(
    logs: Iterable[FileLog], tally: Tally, counts: Mapping[str, Mapping[str, int]], *, left_out: LeftOut | None = None
) -> None:
    """Writes the reasons by log, what the order of the files explains, and the faults last. Nothing for good input."""
    lines: list[str] = []
    for log in logs:
        if left_out is not None and log.log == "impressions" and (sentence := left_out.sentence(log)):
            lines.append(sentence)
        of_log = counts[log.log]
        bad = of_log["late"] + of_log["rejected"]
        lines += (f"note: {note}" for note in log.order.notes())
        if log.unmapped.others:
            lines.append(f"note: {log.unmapped.others:,} records are no {log.log} by the conditions of the mapping")
        if bad:
            lines.append(f"{log.log}: {bad:,} of {of_log['consumed']:,} late or refused")
            lines += (
                f"  {count:,} by the mapping, first {log.place(at)}: {why}" for count, at, why in log.unmapped.groups()
            )
            lines += tally.lines(log)
    lines += (f"clickfold: {fault}" for fault in faults(counts))
    for line in lines:
        print(escaped(line), file=sys.stderr, flush=True)  # noqa: T201  # the terminal is the place for it
