"""Logs of auctions from files of any format that is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from schemas.auctions import LoggedImpression
from schemas.errors import SettingsError
from schemas.events import decode_event
from streams.inputs.files import FileLog


def read_auctions(paths: Sequence[Path]) -> list[LoggedImpression]:
    """The impressions of files, by time. Raises SettingsError naming the line that is none."""
    log = FileLog(paths, "auctions")
    found: list[LoggedImpression] = []
    for number, line in log.lines():
        try:
            each = decode_event(line, LoggedImpression)
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{log.place(number)} is no impression of an auction: {error}") from error
        if each.clicked and each.click_delay_ms is None:
            raise SettingsError(f"{log.place(number)} was clicked and has no click_delay_ms; give it")
        found.append(each)
    if not found:
        raise SettingsError("the files have no impression; give a log of auctions")
    return sorted(found, key=lambda each: each.ts)
