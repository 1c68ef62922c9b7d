"""Dead letters of `ads.rejects` and records of `ads.redriven`, as they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.codec import decoder
from schemas.errors import SettingsError
from schemas.reading import Unreadable, read
from schemas.rejects import Reason, Redriven, Rejected
from streams.kafka.cluster import Cluster
from streams.kafka.ranges import Range, resolve_range
from streams.kafka.scan import scan

_SPOT = re.compile(r"([A-Za-z0-9._-]{1,249})/(\d{1,9})@(\d{1,18})")


class Spot(NamedTuple):
    """Where an original is."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, text: str) -> Spot:
        """From `ads.clicks/1@812`. Raises SettingsError."""
        found = _SPOT.fullmatch(text)
        if found is None:
            raise SettingsError(f"{text!r} is no place of a record; write TOPIC/PARTITION@OFFSET, as `list` shows it")
        return cls(found[1], int(found[2]), int(found[3]))

    @classmethod
    def of_letter(cls, letter: Rejected) -> Spot:
        """The original of a dead letter."""
        return cls(letter.topic, letter.partition, letter.offset)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


def reasons_named(text: str) -> set[Reason]:
    """The reasons in a text, separated by commas; empty for none. Raises SettingsError, which names them all."""
    known = {str(reason): reason for reason in Reason}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise SettingsError(f"--reason {name} is none; the reasons are {', '.join(known)}")
    return {known[name] for name in names}


@dataclass(slots=True)
class Letters:
    """Dead letters between two places of `ads.rejects`, as `resolve_range` reads them, of some reasons or of all."""

    cluster: Cluster
    from_text: str = "earliest"
    to_text: str = "latest"
    reasons: Collection[Reason] = ()
    on_more: Callable[[int], None] = lambda _: None
    on_read: Callable[[int], None] = lambda _: None
    _range: Range | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[Rejected]:
        range_ = resolve_range(self.cluster, self.from_text, self.to_text, inputs=("rejects",), partitions=1)
        start, stop = range_.start[0]["rejects"], range_.stop[0]["rejects"]
        self.on_more(stop - start)
        for records in scan(self.cluster, "rejects", {0: (start, stop)}):
            for value in records.values:
                letter = read(value, decoder(Rejected).decode)
                if not isinstance(letter, Unreadable) and (not self.reasons or letter.reason in self.reasons):
                    yield letter
            self.on_read(len(records))


def redriven(cluster: Cluster) -> Iterator[Redriven]:
    """Everything that was redriven and is kept, as of now."""
    range_ = resolve_range(cluster, "earliest", "latest", inputs=("redriven",), partitions=1)
    for records in scan(cluster, "redriven", {0: (range_.start[0]["redriven"], range_.stop[0]["redriven"])}):
        for value in records.values:
            sent = read(value, decoder(Redriven).decode)
            if not isinstance(sent, Unreadable):
                yield sent


@dataclass(slots=True)
class Group:
    """The dead letters of one topic and reason: how many, how many of them were redriven, and the newest."""

    topic: str
    reason: Reason
    count: int = 0
    redriven: int = 0
    newest: Rejected | None = None


def grouped(letters: Letters) -> list[Group]:
    """The groups of the dead letters, the largest first."""
    done = {(each.topic, each.partition, each.offset) for each in redriven(letters.cluster)}
    groups: dict[tuple[str, Reason], Group] = {}
    for letter in letters:
        group = groups.setdefault((letter.topic, letter.reason), Group(letter.topic, letter.reason))
        group.count += 1
        group.redriven += Spot.of_letter(letter) in done
        # Later in the log; the times of originals of several topics do not ascend.
        group.newest = letter
    return sorted(groups.values(), key=lambda each: (-each.count, each.topic, each.reason))
