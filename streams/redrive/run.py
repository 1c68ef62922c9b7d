"""Redrives dead letters: reads their originals, mends them, and sends what the live join still accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.rejects import MS_AHEAD, Reason, Rejected
from schemas.topics import TOPICS
from schemas.totals import Ledger
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import last_record
from streams.mapping.mending import Mender, NotMended
from streams.redrive.letters import Spot
from streams.redrive.originals import Gone, Originals
from streams.redrive.sending import Homes, Sending, ToSend

_INPUTS: Final = ("impressions", "clicks")
# In memory at once, with their originals, of at most a few KiB each.
_CHUNK: Final = 5_000
# Reasons that hold for a record however often it is sent, unless a mapping makes another record of it.
_UNCHANGED: Final = {
    Reason.CONFLICT: "the same id came before with other content; only a mapping that gives it another id mends it",
    Reason.UNWRITABLE: "ClickHouse refused its row; it is no record of an input",
}


class Refusal(NamedTuple):
    """Records that are still refused for one reason: how many, the first, and why that one is."""

    records: int
    first: Spot
    detail: str


class Older(NamedTuple):
    """A mended record that the live join would refuse as late. `sent`: it was sent nevertheless.

    `needs_ms`: the lateness with which a backfill takes it, as far as it is known.
    """

    spot: Spot
    log: str
    ts_ms: int
    needs_ms: int
    sent: bool


@dataclass(slots=True)
class Redriving:
    """What became of the dead letters. `looked`: how many there were; `before`: of them, those redriven before."""

    looked: int = 0
    before: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    gone: list[tuple[Spot, str]] = field(default_factory=list)
    refused: dict[Reason, Refusal] = field(default_factory=dict)
    older: list[Older] = field(default_factory=list)


class Redrive:
    """One redrive. With `dry_run` it says what it would send, and sends nothing.

    With `older`, records below the watermark are sent too: the live join refuses them as late. A record that is in the
    log as it should be, and late there, is never sent.
    """

    def __init__(
        self,
        cluster: Cluster,
        mender: Mender,
        *,
        lateness_ms: int,
        dry_run: bool = False,
        older: bool = False,
    ) -> None:
        """`lateness_ms` is that of the live join."""
        self._cluster, self._mender, self._dry_run, self._older = cluster, mender, dry_run, older
        self._lateness_ms = lateness_ms
        self._partitions = Admin(cluster).check(_INPUTS, ("rejects", "redriven", "ledger"))
        self._topics = {cluster.topic(log): log for log in _INPUTS}
        # Topics of clickfold's own, whose records are no events.
        self._own = {cluster.topic(role) for role in TOPICS} - self._topics.keys()
        self._homes = Homes(cluster, self._partitions)
        self.found = Redriving()

    def run(self, letters: Iterable[Rejected]) -> Redriving:
        """Redrives these. Raises Transient when Kafka fails: what was sent until then is not sent again."""
        sending = Sending(self._cluster, dry_run=self._dry_run)
        with closing(Originals(self._cluster)) as originals:
            for chunk in _chunks(letters):
                unique = {Spot.of_letter(letter): letter for letter in chunk}
                self.found.looked += len(unique)
                batch = list(self._of_chunk(originals, list(unique.values()), sending))
                for each in batch:
                    self.found.sent[each.mended.log] += 1
                sending.send(batch, mapping=self._mender.digest)
        return self.found

    def _of_chunk(self, originals: Originals, letters: Sequence[Rejected], sending: Sending) -> Iterator[ToSend]:
        watermarks = self._watermarks()
        done = {identity[:3] for identity in sending.done}
        # Of a record of another topic one input may be sent already, and the other not, because it was older then.
        new = [
            letter
            for letter in letters
            if Spot.of_letter(letter) not in done or (self._older and letter.topic not in self._topics)
        ]
        self.found.before += len(letters) - len(new)
        readable = []
        for letter in new:
            if why := self._never(letter):
                self._refuse(letter, why)
            else:
                readable.append(letter)
        for letter, original in originals.read(readable):
            spot = Spot.of_letter(letter)
            if isinstance(original, Gone):
                self.found.gone.append((spot, str(original)))
                continue
            log = self._topics.get(letter.topic)
            mended = self._mender.mend(log, original.value, original.headers)
            if isinstance(mended, NotMended):
                self._refuse(letter, mended.detail)
                continue
            as_it_is = None if log is None else self._mender.as_it_is(log, original.value)
            if letter.reason in _UNCHANGED and as_it_is in mended:
                self._refuse(letter, _UNCHANGED[letter.reason])
                continue
            rest = [each for each in mended if (*spot, each.log) not in sending.done]
            self.found.before += not rest
            for each in rest:
                to_send = ToSend(letter, each, self._homes.partition(each.log, each.key))
                watermark_ms = watermarks.get((each.log, to_send.partition), each.ts_ms)
                there = _is_there(letter, each == as_it_is, to_send.partition)
                if there or each.ts_ms < watermark_ms:
                    sends = self._older and not there
                    needs_ms = self._needed_lateness_ms(letter, each.ts_ms, watermark_ms, sends=sends)
                    self.found.older.append(Older(spot, each.log, each.ts_ms, needs_ms, sends))
                    if not sends:
                        continue
                yield to_send

    def _needed_lateness_ms(self, letter: Rejected, ts_ms: int, watermark_ms: int, *, sends: bool) -> int:
        """The lateness with which a backfill takes an older record."""
        if sends:
            # Where it is sent to, this far behind what was read before.
            return watermark_ms + self._lateness_ms - ts_ms
        ahead = MS_AHEAD.search(letter.detail) if letter.reason is Reason.LATE else None
        # A record that was refused for another reason is where it belongs in its log.
        return int(ahead[1]) if ahead is not None else self._lateness_ms

    def _never(self, letter: Rejected) -> str:
        """Why it would be in vain to look at the original; empty when it would not."""
        if letter.topic in self._own:
            return "it is no record of an input; put right what wrote it"
        if letter.reason in _UNCHANGED and not self._mender.digest:
            return _UNCHANGED[letter.reason]
        return ""

    def _refuse(self, letter: Rejected, detail: str) -> None:
        before = self.found.refused.get(letter.reason)
        if before is None:
            self.found.refused[letter.reason] = Refusal(1, Spot.of_letter(letter), detail)
        else:
            self.found.refused[letter.reason] = before._replace(records=before.records + 1)

    def _watermarks(self) -> dict[tuple[str, int], int]:
        """By input and partition the watermark, as the last ledgers say."""
        found: dict[tuple[str, int], int] = {}
        for partition in range(self._partitions):
            last = last_record(self._cluster, "ledger", partition)
            if last is not None:
                ledger = decode(last.value or b"", Ledger)
                found["impressions", partition] = ledger.impressions_watermark_ms
                found["clicks", partition] = ledger.clicks_watermark_ms
        return found


def _is_there(letter: Rejected, unchanged: bool, home: int) -> bool:
    """Whether a late record is in the log already as it should be: sent again, it would be late again, each time."""
    return letter.reason is Reason.LATE and unchanged and letter.partition == home


def _chunks(letters: Iterable[Rejected]) -> Iterator[list[Rejected]]:
    rest = iter(letters)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def the_one(letters: Iterable[Rejected], spot: Spot) -> Rejected:
    """The dead letter of one place, the last if there are several. Raises SettingsError where there is none."""
    found = None
    for letter in letters:
        if Spot.of_letter(letter) == spot:
            found = letter
    if found is None:
        raise SettingsError(f"there is no dead letter of {spot}; `clickfold rejects list` shows which there are")
    return found
