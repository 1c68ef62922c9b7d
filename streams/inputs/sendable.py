"""The records of a log that the join would take by themselves; the others are counted, with why and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from schemas.events import Click, Impression
from schemas.reading import Unreadable, read_click, read_impression
from schemas.records import Record
from streams.inputs.tally import Log, Tally
from streams.inputs.unmapped import Unmapped


class ReadLog(Log, Protocol):
    """A log that is read from its start: files, or the newest records of topics."""

    unmapped: Unmapped

    def records(self) -> Iterator[Record]:
        """The records. Those that a mapping refuses are none; `unmapped` has them."""
        ...


class Sendable:
    """The records of a log without those that the join would refuse by themselves, or the mapping has refused."""

    def __init__(self, log: ReadLog) -> None:
        self.log = log
        self._unreadable = 0
        self._tally = Tally()

    @property
    def refused(self) -> int:
        """How many records were refused so far."""
        return self._unreadable + self.log.unmapped.count

    def records(self) -> Iterator[Record]:
        """The records, read as they are asked for. Raises SettingsError when a file is damaged or cut short."""
        return (record for record, _ in self.events())

    def events(self) -> Iterator[tuple[Record, Impression | Click]]:
        """The records with what they hold. Raises SettingsError as `records` does."""
        log = self.log.log
        judge = read_impression if log == "impressions" else read_click
        for record in self.log.records():
            line = record.value or b""
            found = judge(line)
            if isinstance(found, Unreadable):
                self._unreadable += 1
                self._tally.add(log, reason=found.reason, detail=found.detail, offset=record.offset, line=line)
            else:
                yield record, found if isinstance(found, Click) else found.impression

    def refusals(self) -> Iterator[str]:
        """Lines on what was refused, by rule and by reason, with the place of the first."""
        for count, at, why in self.log.unmapped.groups():
            yield f"  refused {count:,} by the mapping, first {self.log.place(at)}: {why}"
        yield from (f"  refused{line}" for line in self._tally.lines(self.log))
        if self.log.unmapped.others:
            yield f"  {self.log.unmapped.others:,} records are no {self.log.log} by the conditions of the mapping"
