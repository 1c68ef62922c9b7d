"""Users' own logs and campaigns from files of any format that is read, in clickfold's own form or by a mapping.

Any number of files are one log of one partition: the order of the files and of their lines is the order of the log, and
the offset of a record is the number of its line, row or object from 0, counted over all files. Lines that are no events
are records too, because the join decides what becomes of them. Blank lines are skipped; offsets then have a gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
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
from streams.formats.addresses import Address
from streams.formats.damage import Damaged
from streams.formats.texts import batches, texts_of
from streams.inputs.opening import STDIN, Copy, Source, as_given
from streams.inputs.order import Order
from streams.inputs.own_columns import own_events
from streams.inputs.refusals import why
from streams.inputs.rows import Count, own_compiled, plain_lines, rows_of
from streams.inputs.unmapped import Unmapped
from streams.mapping.compiled import Compiled, Mapped
from streams.mapping.language import EVENTS, Declared, paths_of

BATCH_RECORDS: Final = 10_000
_NO_TIMESTAMP: Final = -1
_SHOWN_NAMES: Final = 20


# Numbers, keys and values of records.
_Columns = tuple[Sequence[int], Sequence[bytes | None], Sequence[bytes]]


class _Keyed(msgspec.Struct, gc=False):
    impression_id: Any = None
    ts: Any = None


class Place(NamedTuple):
    """A line of a file, or a row or an object; they count from 1."""

    file: str
    line: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file} {self.unit} {self.line}"


class FileLog:
    """The records of one log ('impressions' or 'clicks') from files in the order given, of any format that is read.

    `-` is standard input. `keep` copies pipes to temporary files, so that the log can be read more than once; `stdin`
    is such a copy that another log reads too. `mapping` makes events of the records of other forms; without one, fields
    have the names of clickfold's own form. `begin` is the first offset that is wanted. Raises SettingsError at once
    when a file is missing, given twice, or nothing that can be read as this log.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        log: str,
        *,
        keep: bool = False,
        mapping: Compiled | None = None,
        stdin: Copy | None = None,
        begin: int = 0,
    ) -> None:
        if not paths:
            raise SettingsError(f"--{log} names no file; give one or more files, or -")
        self.log = log
        self.order = Order()
        self._begin = begin
        self.unmapped = Unmapped(begin)
        self._mapping = mapping
        paths = [as_given(path) for path in paths]
        _refuse_doubles(paths, log)
        table = mapping.mapping.table if mapping is not None else None
        self._sources = [
            Source(path, log, keep=keep, table=table, copy=stdin if path == STDIN else None) for path in paths
        ]
        # First offset of each file that was begun, ascending.
        self._starts: list[int] = []
        self._size = sum(source.size() for source in self._sources)
        self._at = (0, 0)

    @property
    def part_read(self) -> float:
        """The part of the files that was read, from 0 to 1, by their bytes; 0 while that is not known."""
        file, done = self._at
        if file == len(self._sources):
            return 1.0
        if not self._size:
            return 0.0
        return min((done + self._sources[file].bytes_read()) / self._size, 1.0)

    def records(self) -> Iterator[Record]:
        """The records from the start, read as they are asked for.

        The key is the line's own `impression_id`, None where there is none. There is no Kafka timestamp, so the future
        rule is skipped. Records that the mapping refuses are no records; `unmapped` has them. Raises SettingsError when
        a file is damaged or cut short.
        """
        for numbers, keys, values in self._wanted(1):
            for number, key, value in zip(numbers, keys, values, strict=True):
                yield Record(number, _NO_TIMESTAMP, key, value)

    def batches(self, *, most: int = BATCH_RECORDS, partition: int = 0) -> Iterator[Records]:
        """The records as columns, `most` at a time, the last batch shorter; none for an empty log."""
        numbers: list[int] = []
        keys: list[bytes | None] = []
        values: list[bytes] = []
        for more in self._wanted(most):
            for column, part in zip((numbers, keys, values), more, strict=True):
                column.extend(part)  # type: ignore[attr-defined]  # each is extended by its own kind
            while len(numbers) >= most:
                yield self._batch(numbers[:most], keys[:most], values[:most], partition)
                del numbers[:most], keys[:most], values[:most]
        if numbers:
            yield self._batch(numbers, keys, values, partition)

    def _batch(self, numbers: list[int], keys: list[bytes | None], values: list[bytes], partition: int) -> Records:
        return Records(self.log, partition, numbers, [_NO_TIMESTAMP] * len(numbers), keys, values)

    def _wanted(self, most: int) -> Iterator[_Columns]:
        """The columns from the first offset on that is wanted."""
        for numbers, keys, values in self._columns(most):
            at = bisect_left(numbers, self._begin)
            yield (numbers[at:], keys[at:], values[at:]) if at else (numbers, keys, values)

    def _columns(self, most: int) -> Iterator[_Columns]:
        """Numbers, keys and values of the records; those of our own form `most` at a time, others by batch."""
        self.order = Order()
        for events in self._events():
            if isinstance(events, Mapped):
                self.order.add_run(events.times_ms, events.values)
                yield events.places, events.keys, events.values
                continue
            for part in batches(events, most):
                yield [number for number, _ in part], [self._key(line) for _, line in part], [line for _, line in part]

    def _key(self, line: bytes) -> bytes | None:
        """The impression id of a line, None where it has none; its event time is noted."""
        try:
            found = decoder(_Keyed).decode(line)
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or no object
            return None
        if isinstance(found.ts, int | float) and MIN_TS_MS <= found.ts <= MAX_TS_MS:
            self.order.add(int(found.ts), line)
        return found.impression_id.encode() if isinstance(found.impression_id, str) else None

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Texts of JSON that are not blank, one for each record, and their number from 0 over all files."""
        for events in self._events():
            if isinstance(events, Mapped):
                yield from zip(events.places, events.values, strict=True)
            else:
                yield from events

    def _events(self) -> Iterator[Mapped | Iterator[tuple[int, bytes]]]:
        """The records of all files: those of our own form one by one, others by batch, with numbers over all files."""
        self._starts = []
        self.unmapped = Unmapped(self._begin)
        start, done = 0, 0
        for file, source in enumerate(self._sources):
            self._at = file, done
            self._starts.append(start)
            self.order.next_file(source.name)
            count = Count()
            try:
                if self._mapping is None and source.form.is_json:
                    yield self._own_lines(source, start, count)
                elif self._mapping is None and self.log not in EVENTS:
                    yield from (_shifted(texts, start) for texts in plain_lines(source, self.log, count))
                else:
                    yield from self._mapped(source, start, count)
            except Damaged as error:
                raise source.damaged(count.done, error) from error
            start += count.done
            done += source.size()
        self._at = len(self._sources), done

    def _own_lines(self, source: Source, start: int, count: Count) -> Iterator[tuple[int, bytes]]:
        try:
            with source.open() as file:
                for number, text in enumerate(texts_of(file, source.form.kind)):
                    count.done = number + 1
                    if text and not text.isspace():
                        yield start + number, text
        except Damaged as error:
            raise source.damaged(count.done, error) from error

    def _mapped(self, source: Source, start: int, count: Count) -> Iterator[Mapped]:
        mapping = self._mapping or own_compiled(self.log)
        # The first records of a log show whether the mapping is one of these files.
        is_first = self._mapping is not None and not start
        for batch in rows_of(source, mapping, count):
            if batch.names is not None and (missing := mapping.missing(batch.names)) is not None:
                raise _no_column(source, missing, batch.names)
            if not len(batch.rows):
                continue
            if is_first and (wrong := mapping.never_matching(batch.rows)):
                raise SettingsError(f"{source.subject}: {'; '.join(map(str, wrong))}")
            is_first = False
            events = (self._mapping is None and own_events(batch.rows, self.log)) or mapping.map(batch.rows)
            numbers = batch.numbers
            events.places = [start + numbers[place] for place in events.places]
            self.unmapped.add(events, [start + number for number in numbers] if events.refused else ())
            yield events

    def place(self, offset: int) -> Place:
        """The file and line of a record that was read."""
        file = bisect_right(self._starts, offset) - 1
        return Place(self._sources[file].name, offset - self._starts[file] + 1, self._sources[file].form.unit)


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


def _no_column(source: Source, rule: Declared, names: Sequence[str]) -> SettingsError:
    """The error for a file without a column that a rule needs."""
    wanted = " or ".join(rule.rule.join or paths_of(rule.rule))
    have = ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    remedy = (
        f"{rule.where}: give the path of another, a default, or optional = true"
        if rule.place
        else "a mapping says which is which, and `clickfold map guess` writes one"
    )
    return SettingsError(f"{source.subject} has no column {wanted}; it has {have or 'none'}; {remedy}")


def _shifted(texts: Iterator[tuple[int, bytes]], start: int) -> Iterator[tuple[int, bytes]]:
    return ((start + number, text) for number, text in texts)


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
    if path == STDIN or isinstance(path, Address):
        return path
    try:
        status = path.stat()
    except OSError:  # it is missing, which is said when it is opened
        return path.resolve()
    return status.st_dev, status.st_ino


def _same(one: Path, other: Path) -> bool:
    if isinstance(one, Address) or isinstance(other, Address):
        return one == other
    try:
        # The same device, such as /dev/null, may be both logs.
        return STDIN not in (one, other) and one.is_file() and one.samefile(other)
    except OSError:  # one is missing, which is said when it is opened
        return False
