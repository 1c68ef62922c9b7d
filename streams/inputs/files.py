"""Users' own logs and campaigns from files: one JSON object a line, plain or gzip.

Any number of files are one log of one partition: the order of the files and of their lines is the order of the log, and
the offset of a record is the number of its line from 0, counted over all files. Lines that are no events are records
too, because the join decides what becomes of them. Blank lines are skipped; offsets then have a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import available_timezones

import msgspec

from schemas.codec import decoder
from schemas.errors import SettingsError
from schemas.events import MAX_TS_MS, MIN_TS_MS, Campaign, decode_event
from schemas.records import Record, Records
from schemas.rejects import Reason
from schemas.zones import zone
from streams.inputs.opening import DAMAGED, STDIN, Source, as_given
from streams.inputs.order import Order
from streams.inputs.recognise import BYTE_ORDER_MARK
from streams.inputs.refusals import why

BATCH_RECORDS: Final = 10_000
_NO_TIMESTAMP: Final = -1


class _Keyed(msgspec.Struct, gc=False):
    impression_id: Any = None
    ts: Any = None


class Place(NamedTuple):
    """A line of a file; lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file} line {self.line}"


class FileLog:
    """The records of one log ('impressions' or 'clicks') from files in the order given.

    `-` is standard input. `keep` copies pipes to temporary files, so that the log can be read more than once. Raises
    SettingsError at once when a file is missing, given twice, or no JSON lines of this log.
    """

    def __init__(self, paths: Sequence[Path], log: str, *, keep: bool = False) -> None:
        if not paths:
            raise SettingsError(f"--{log} names no file; give one or more .jsonl or .jsonl.gz files, or -")
        self.log = log
        self.order = Order()
        paths = [as_given(path) for path in paths]
        _refuse_doubles(paths, log)
        self._sources = [Source(path, log, keep=keep) for path in paths]
        # First offset of each file that was begun, ascending.
        self._starts: list[int] = []

    def records(self) -> Iterator[Record]:
        """The records from the start, read as they are asked for.

        The key is the line's own `impression_id`, None where there is none. There is no Kafka timestamp, so the future
        rule is skipped. Raises SettingsError when a gzip file is damaged or cut short.
        """
        keyed = decoder(_Keyed)
        self.order = Order()
        for number, line in self.lines():
            key = None
            try:
                found = keyed.decode(line)
            except (ValueError, RecursionError):  # not JSON, not UTF-8, or no object
                pass
            else:
                if isinstance(found.impression_id, str):
                    key = found.impression_id.encode()
                if isinstance(found.ts, int | float) and MIN_TS_MS <= found.ts <= MAX_TS_MS:
                    self.order.add(int(found.ts), line)
            yield Record(number, _NO_TIMESTAMP, key, line)

    def batches(self, *, most: int = BATCH_RECORDS, partition: int = 0) -> Iterator[Records]:
        """The records as columns, `most` at a time, the last batch shorter; none for an empty log."""
        records = self.records()
        while batch := list(islice(records, most)):
            yield Records(
                self.log,
                partition,
                [record.offset for record in batch],
                [record.record_ts_ms for record in batch],
                [record.key for record in batch],
                [record.value for record in batch],
            )

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines that are not blank, without what ends them, and their number from 0 over all files."""
        self._starts = []
        start = 0
        for source in self._sources:
            self._starts.append(start)
            self.order.next_file(source.name)
            number = start - 1
            try:
                with source.open() as file:
                    for number, line in enumerate(file, start):
                        text = line.rstrip(b"\r\n")
                        if number == start:
                            text = text.removeprefix(BYTE_ORDER_MARK)
                        if text and not text.isspace():
                            yield number, text
            except DAMAGED as error:
                raise source.damaged(number + 1 - start, error) from error
            start = number + 1

    def place(self, offset: int) -> Place:
        """The file and line of a record that was read."""
        file = bisect_right(self._starts, offset) - 1
        return Place(self._sources[file].name, offset - self._starts[file] + 1)


def read_campaigns(paths: Sequence[Path]) -> list[Campaign]:
    """Campaigns in the order of their lines, several versions of one allowed. Raises SettingsError naming the line."""
    campaigns: list[Campaign] = []
    files = FileLog(paths, "campaigns")
    for number, line in files.lines():
        try:
            campaign = decode_event(line, Campaign)
        except (ValueError, RecursionError) as error:
            raise _no_campaign(files.place(number), why("campaigns", line, Reason.UNDECODABLE, str(error))) from error
        if zone(campaign.timezone) is None:
            raise _no_campaign(files.place(number), _no_zone(campaign.timezone))
        campaigns.append(campaign)
    return campaigns


def _no_campaign(place: Place, why_not: str) -> SettingsError:
    return SettingsError(
        f"line {place.line} of campaigns file {place.file} is not a campaign: {why_not}; each line is a JSON object "
        "with campaign_id, daily_budget_micros, timezone (IANA), status, pacing, version"
    )


def _no_zone(name: str) -> str:
    """What is wrong with the name of a time zone. File systems that ignore case take other names than this one."""
    right = {known.lower(): known for known in available_timezones()}.get(name.strip().lower())
    example = f"is it {right}?" if right else "give an IANA name, such as Asia/Tokyo"
    return f"no time zone has the name {name!r}; {example}"


def refuse_shared(impressions: Sequence[Path], clicks: Sequence[Path]) -> None:
    """Raises SettingsError when a file is given as both logs, as by a glob that also matches the other log's file."""
    for click_path in map(as_given, clicks):
        for path in map(as_given, impressions):
            if path == click_path == STDIN:
                raise SettingsError(
                    "standard input is given both as --impressions and as --clicks, but it is one log; give a file for "
                    "the other"
                )
            if path == click_path or _same(path, click_path):
                raise SettingsError(
                    f"{path} is given both as --impressions and as --clicks; leave it out of one: a glob such as "
                    "*.jsonl matches the files of both"
                )


def _refuse_doubles(paths: Sequence[Path], log: str) -> None:
    seen: dict[object, Path] = {}
    for path in paths:
        identity = _identity(path)
        before = seen.get(identity)
        seen[identity] = path
        if before is not None:
            name = "standard input" if path == STDIN else f"file {path}"
            also = "" if path == before else f", also as {before}"
            raise SettingsError(f"{log} {name} is given twice{also}; its records would be duplicates: give it once")


def _identity(path: Path) -> object:
    """What is the same for all names of a file: symbolic and hard links, other spellings of the path."""
    if path == STDIN:
        return path
    try:
        status = path.stat()
    except OSError:  # it is missing, which is said when it is opened
        return path.resolve()
    return status.st_dev, status.st_ino


def _same(one: Path, other: Path) -> bool:
    try:
        # The same device, such as /dev/null, may be both logs.
        return STDIN not in (one, other) and one.is_file() and one.samefile(other)
    except OSError:  # one is missing, which is said when it is opened
        return False
