"""The refused and late records of a run by reason: how many, where the first one is, and what is wrong with it."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import xxhash

from schemas.reading import Unreadable, read_click, read_impression
from schemas.rejects import MS_AHEAD, Reason, Rejected
from streams.inputs.files import FileLog, Place
from streams.inputs.order import NEWEST_FIRST, Order
from streams.inputs.refusals import why

LOGS: Final = ("impressions", "clicks")
_MOST_GROUPS: Final = 10
_LONGEST_MS: Final = 31 * 86_400_000
# What the join says of a late record: which record moved the watermark, and by how much.
_LEADER: Final = re.compile(r"the record at offset (\d+),")
# As many records below it show the join that the clock of a record is wrong, where it is more than `--jump` ahead.
_EVIDENCE: Final = 10
# More records than one that were ahead say nothing about a clock.
_TWO: Final = 2


class Log(Protocol):
    """A log as it is told of: its name, the order of its times, and where a record is."""

    log: str
    order: Order

    def place(self, offset: int) -> Place:
        """The place of a record that was read."""
        ...


class Refusal(NamedTuple):
    """Records that were refused alike: how many, where the first one is, and what is wrong with it."""

    lines: int
    reason: Reason
    first: Place
    detail: str


@dataclass(slots=True)
class _Group:
    """Records that were refused alike: how many, and the first of them."""

    count: int
    reason: Reason
    offset: int
    line: bytes
    detail: str
    # Of late records: by how much they are behind, and the offsets of the records that were ahead of them.
    most_ahead_ms: int = 0
    least_ahead_ms: int = _LONGEST_MS
    leaders: set[int] = field(default_factory=set)


class Tally:
    """Counts refused and late records by log; `lines` says what became of them.

    Records refused for one field and one bound are a group, whatever their values, which are what `values` matches.
    """

    def __init__(self, values: str = r"\d+") -> None:
        self._values = re.compile(values)
        self._groups: defaultdict[str, dict[tuple[Reason, str], _Group]] = defaultdict(dict)

    def add(self, log: str, *, reason: Reason, detail: str, offset: int, line: bytes) -> None:
        """Counts a record. The first of a group in the order of the log is kept."""
        groups = self._groups[log]
        key = reason, self._values.sub("N", detail)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(0, reason, offset, line, detail)
        group.count += 1
        if reason is Reason.LATE and (ahead := MS_AHEAD.search(detail)):
            group.most_ahead_ms = max(group.most_ahead_ms, int(ahead[1]))
            group.least_ahead_ms = min(group.least_ahead_ms, int(ahead[1]))
        if reason is Reason.LATE and len(group.leaders) < _TWO and (leader := _LEADER.search(detail)):
            group.leaders.add(int(leader[1]))

    def take(self, other: Tally, log: str) -> None:
        """Replaces the groups of a log by those of another tally."""
        self._groups[log] = other._groups[log]

    def lines(self, log: Log) -> list[str]:
        """A line for each reason of a log, the most frequent first, and what its order of time explains."""
        refusals = self.refusals(log)
        text = [
            f"  {each.lines:,} {each.reason}, first {each.first}: {_in_files(log, each.detail)}"
            for each in refusals[:_MOST_GROUPS]
        ]
        if len(refusals) > _MOST_GROUPS:
            rest = refusals[_MOST_GROUPS:]
            text.append(f"  {sum(each.lines for each in rest):,} for {len(rest)} more reasons")
        late = [group for group in self._sorted(log) if group.reason is Reason.LATE]
        return [*text, f"  {_order(log, late)}"] if late else text

    def refusals(self, log: Log) -> list[Refusal]:
        """The reasons of a log, the most frequent first."""
        return [
            Refusal(
                group.count,
                group.reason,
                log.place(group.offset),
                why(log.log, group.line, group.reason, group.detail),
            )
            for group in self._sorted(log)
        ]

    def _sorted(self, log: Log) -> list[_Group]:
        return sorted(self._groups[log.log].values(), key=lambda group: (-group.count, group.offset))


def located(logs: Mapping[str, FileLog], rejects: Iterable[tuple[str, Rejected]]) -> Tally:
    """The tally of dead letters of a run that was fed from files, found again in them by their hashes.

    Reads the files once more; they are kept.
    """
    wanted: dict[str, dict[tuple[str, int], deque[Rejected]]] = {log: defaultdict(deque) for log in logs}
    for log, one in rejects:
        wanted[log][one.xxh3, one.length].append(one)
    tally = Tally()
    for log, files in logs.items():
        if not wanted[log]:
            continue
        for number, line in files.lines():
            same = wanted[log].get((xxhash.xxh3_64_hexdigest(line), len(line)))
            if same:
                one = same.popleft()
                # The offset of the record that moved the watermark is one of Kafka, and means nothing in the files.
                detail = re.sub(f"{_LEADER.pattern} with ts (\\d+), is", r"a record with ts \2 is", one.detail)
                tally.add(log, reason=one.reason, detail=detail, offset=number, line=line)
    return tally


def unusable(files: FileLog, tally: Tally) -> int:
    """How many records a log has when the join would refuse each by itself, with the reasons in `tally`; else 0.

    Reads up to the first record that can be used, so a good log costs nothing.
    """
    count = 0
    own = Tally()
    for number, line in files.lines():
        event = read_impression(line) if files.log == "impressions" else read_click(line)
        if not isinstance(event, Unreadable):
            return 0
        count += 1
        own.add(files.log, reason=event.reason, detail=event.detail, offset=number, line=line)
    tally.take(own, files.log)
    return count


def fault(log: str, *, consumed: int, accepted: int, bad: int) -> list[str]:
    """The sentence on why one log cannot be used; none when it can."""
    if consumed and not accepted:
        return [f"no record of {log} was accepted, of {consumed:,}"]
    if 2 * bad > consumed:
        return [f"{bad:,} of {consumed:,} {log} are late or refused, more than half"]
    return []


def faults(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Sentences on why the result of a run cannot be used; none when it can.

    `counts` has by log the fields of `LogCounts`, and for clicks `billable`. An empty clicks log is no fault, nor are
    two empty logs.
    """
    sentences = []
    for log in LOGS:
        of_log = counts[log]
        bad = of_log["late"] + of_log["rejected"]
        sentences += fault(log, consumed=of_log["consumed"], accepted=of_log["accepted"], bad=bad)
    clicks, impressions = counts["clicks"], counts["impressions"]
    if clicks["accepted"] and not impressions["consumed"]:
        sentences.append(f"there are {clicks['consumed']:,} clicks and no impressions; give the impressions too")
    elif clicks["accepted"] and impressions["accepted"] and not clicks["billable"]:
        sentences.append(
            f"no click matches an impression, of {clicks['accepted']:,} accepted ones; compare the impression_id and "
            "ts of both logs, and see --window"
        )
    return sentences


def _in_files(log: Log, text: str) -> str:
    """The sentence of the join with the file and line of the record that it names, in place of the offset."""
    return _LEADER.sub(lambda leader: f"{log.place(int(leader[1]))},", text)


def _order(log: Log, groups: Sequence[_Group]) -> str:
    """Why the records of these groups are late, and what to do about it."""
    order, late = log.order, sum(group.count for group in groups)
    say = f"1 {log.log.removesuffix('s')} is late: " if late == 1 else f"{late:,} {log.log} are late: "
    if order.is_newest_first:
        say += NEWEST_FIRST
    else:
        say += "the log is not in the order of time; sort it by ts"
    most_ms = max(group.most_ahead_ms for group in groups) or order.most_behind_ms
    if most_ms <= _LONGEST_MS:
        say += f", or give --lateness {-(-most_ms // 1_000)}s"
    leaders = set[int]().union(*(group.leaders for group in groups))
    if late >= _EVIDENCE and len(leaders) == 1 and not order.overlaps and not order.is_newest_first:
        # Half of the distance lies between that record and those behind it, wherever the others are.
        jump_s = min(group.least_ahead_ms for group in groups) // 2_000
        say += f". All are behind {log.place(*leaders)}: if its clock is wrong, give --jump {jump_s}s"
    return say
