"""Traces one impression id: finds its records, has the oracle judge them, and looks for what was written of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.dimensions import ExtraDimension
from schemas.outcomes import Outcome
from schemas.reading import event_of
from schemas.records import Record
from schemas.rejects import Redriven, Rejected
from schemas.totals import DIMENSIONS, MINUTE_MS, Ledger
from streams.join.identity import JoinIdentity
from streams.join.mapped import InputMaps
from streams.join.state import CLICKS, IMPRESSIONS, INPUTS
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.partitioners import PARTITIONERS, java_partition, possible
from streams.kafka.ranges import Range
from streams.kafka.reads import last_record, sample_keys
from streams.trace import clickhouse as rows
from streams.trace.answer import Fate, Place, RowsFound, Trace, TracedOutcome, TracedRecord
from streams.trace.decisions import (
    Decided,
    Judgement,
    click_decisions,
    impression_decisions,
    judge,
)
from streams.trace.outputs import Letters, as_fields, counted, dead_letters, outcomes
from streams.trace.reading import Reading, names_id
from streams.verify.mapped import mapped_records
from streams.verify.settled import JudgedRange, committed_offsets, committed_ranges

# Before the time of the first record: clocks of producers, the broker and workers differ by less.
_CLOCKS_MS: Final = 3_600_000
_TEXT_BYTES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """What to trace, and where. `from_text` empty: from an hour before the times that ClickHouse knows of the id."""

    impression_id: str
    bounds: JoinBounds
    group: str
    sink_group: str
    learn_group: str
    dimensions: Sequence[str] = DIMENSIONS
    extra: Sequence[ExtraDimension] = ()
    maps: InputMaps = field(default_factory=InputMaps)
    from_text: str = ""
    to_text: str = "latest"
    all_partitions: bool = False


def trace(
    cluster: Cluster,
    request: TraceRequest,
    *,
    clickhouse: Client | None = None,
    on_more: Callable[[int], None] = lambda _: None,
    on_read: Callable[[int], None] = lambda _: None,
) -> Trace:
    """The whole answer. `on_more` is called with offsets that will be read, `on_read` with those that were.

    Raises SettingsError when a topic is missing or the group has committed nothing, Transient when Kafka is away.
    """
    return _Tracing(cluster, request, clickhouse, Reading(cluster, on_more, on_read)).answer()


class _Tracing:
    def __init__(self, cluster: Cluster, request: TraceRequest, client: Client | None, reading: Reading) -> None:
        self._cluster, self._request, self._client, self._reading = cluster, request, client, reading
        admin = Admin(cluster)
        self._count = admin.check(INPUTS, ("outcomes", "totals", "campaign_totals", "rejects", "redriven", "ledger"))
        self._shards = admin.partition_counts()[cluster.topic("outcomes")]
        self._input_ids = admin.topic_ids(INPUTS)
        self._id = request.impression_id
        self._not_known: list[str] = []

    def answer(self) -> Trace:
        known_ms = rows.event_times(self._client, self._id) if self._client is not None else []
        from_text = self._request.from_text or _before(known_ms, self._request.bounds)
        found, range_ = self._find_records(from_text)
        partition = self._partition_of(found)
        here = {log: [record for at, record in of if at == partition] for log, of in found.items()}
        first_ms = min((record.record_ts_ms for of in found.values() for _, record in of), default=-1)
        from_output = _at(first_ms - _CLOCKS_MS) if first_ms > _CLOCKS_MS else _if_time(from_text)
        spots = {(self._cluster.topic(log), at, record.offset) for log, of in found.items() for at, record in of}
        letters = dead_letters(
            self._reading, self._reading.range(("rejects",), from_output, partitions=1), self._id, spots
        )
        decided = self._decided(partition)
        own = {
            (log, letter.offset): (letter, place)
            for letter, place in letters
            for log in INPUTS
            if (letter.topic, letter.partition) == (self._cluster.topic(log), partition)
        }
        judgement = judge(here, own, self._request.bounds, decided)
        written = outcomes(
            self._reading,
            self._reading.range(("outcomes",), from_output, partitions=self._shards),
            self._id,
            judgement.truth.outcomes,
            self._shards,
        )
        totals = (
            counted(
                self._reading,
                judgement.truth,
                self._request.dimensions,
                [dimension.name for dimension in self._request.extra],
                partition=partition,
                partitions=self._count,
                from_text=from_output,
            )
            if judgement.truth.totals
            else []
        )
        self._note_gaps(range_, partition, judgement, written)
        traced = self._traced(found, partition, judgement, letters)
        if self._client is not None:
            totals = [rows.with_row(self._client, each, [one.name for one in self._request.extra]) for each in totals]
        return Trace(
            self._id,
            partition,
            msgspec.to_builtins(self._request.bounds),
            traced,
            impression_decisions(judgement, self._request.bounds, decided),
            click_decisions(judgement, self._request.bounds, decided),
            self._outcomes(written, judgement),
            totals,
            self._rows(known_ms, written, totals),
            self._reading.done,
            self._not_known,
        )

    # ---- the records ------------------------------------------------------------------------------------------------

    def _find_records(self, from_text: str) -> tuple[dict[str, list[tuple[int, Record]]], Range]:
        range_ = self._reading.range(INPUTS, from_text, self._request.to_text, partitions=self._count)
        wanted = names_id(self._id)
        found: dict[str, list[tuple[int, Record]]] = {}
        for log in INPUTS:
            partitions = range(self._count) if self._request.all_partitions else self._homes(log)
            matching = sorted(
                self._reading.matching(log, range_, partitions, wanted), key=lambda each: (each[0], each[1].offset)
            )
            records = mapped_records((record for _, record in matching), self._request.maps.of.get(log))
            found[log] = [(at, record) for (at, _), record in zip(matching, records, strict=True)]
        return found, range_

    def _homes(self, log: str) -> list[int]:
        """The partitions in which the key may be: by each partitioner that may have written this input."""
        names = possible(sample_keys(self._cluster, log, self._count, newest=True), self._count)
        if not names:
            return list(range(self._count))
        return sorted({PARTITIONERS[name](self._id.encode(), self._count) for name in names})

    def _partition_of(self, found: Mapping[str, Sequence[tuple[int, Record]]]) -> int:
        """The partition in which the id is joined: that of its impression, else of its click, else murmur2's."""
        key = self._id.encode()
        of_key = [at for log in INPUTS for at, record in found[log] if record.key == key]
        return of_key[0] if of_key else java_partition(key, self._count)

    def _decided(self, partition: int) -> Decided:
        judged: JudgedRange = committed_ranges(self._cluster, self._request.group, [partition])[partition]
        request, topics = self._request, (*self._input_ids, str(self._count), str(self._shards))
        identity = JoinIdentity(request.bounds, request.dimensions, request.extra, topics, request.maps.digest)
        if judged.mark.digest != identity.digest:
            self._not_known.append(
                "the join ran with other settings than these: give trace its own --window, --skew, --lateness, "
                "--future, --dedupe, --jump, --negative-rate, --dimensions, --extra-dimensions and --input-map, or "
                "what follows may be wrong"
            )
        highest_ms: dict[str, int] = {}
        last = last_record(self._cluster, "ledger", partition)
        if last is not None:
            ledger = decode(last.value or b"", Ledger)
            lateness_ms = self._request.bounds.lateness_ms
            if ledger.impressions.held:
                highest_ms[IMPRESSIONS] = ledger.impressions_watermark_ms + lateness_ms
            if ledger.clicks.held:
                highest_ms[CLICKS] = ledger.clicks_watermark_ms + lateness_ms
        return Decided(partition, judged.committed, judged.mark.reached, highest_ms, self._request.extra)

    def _traced(
        self,
        found: Mapping[str, Sequence[tuple[int, Record]]],
        partition: int,
        judgement: Judgement,
        letters: Letters,
    ) -> list[TracedRecord]:
        """All records, those of which only a dead letter is left too."""
        by_place = {(letter.topic, letter.partition, letter.offset): (letter, place) for letter, place in letters}
        traced: list[TracedRecord] = []
        for log in INPUTS:
            for at, record in found[log]:
                topic = self._cluster.topic(log)
                letter = by_place.pop((topic, at, record.offset), None)
                fate = judgement.fates[log, record.offset] if at == partition else _elsewhere(letter)
                traced.append(_traced(log, Place(topic, at, record.offset, record.record_ts_ms), record, fate))
        roles = {self._cluster.topic(log): log for log in INPUTS}
        sent_ms = self._redriven_ms() if letters else {}
        traced = [_with_redriven(each, sent_ms) for each in traced]
        for dead, place in by_place.values():
            original = Place(dead.topic, dead.partition, dead.offset, dead.record_ts_ms)
            fate = Fate(str(dead.reason), dead.detail, place)
            text = dead.prefix[:_TEXT_BYTES].decode(errors="replace")
            gone = TracedRecord(roles.get(dead.topic, ""), original, None, None, text, fate, gone=True)
            traced.append(_with_redriven(gone, sent_ms))
        return traced

    def _redriven_ms(self) -> dict[tuple[str, int, int], int]:
        """By topic, partition and offset of an original, when it was redriven."""
        range_ = self._reading.range(("redriven",), "earliest", partitions=1)
        found = self._reading.matching("redriven", range_, [0], lambda record: record.value is not None)
        sent = (decode(record.value or b"", Redriven) for _, record in found)
        return {(each.topic, each.partition, each.offset): each.redriven_ms for each in sent}

    # ---- what was written -------------------------------------------------------------------------------------------

    def _outcomes(self, written: Sequence[tuple[Place, Outcome]], judgement: Judgement) -> list[TracedOutcome]:
        if not written:
            return []
        topic = self._cluster.topic("outcomes")
        learned = committed_offsets(self._cluster, self._request.learn_group, topic, self._shards)
        return [
            TracedOutcome(
                place,
                as_fields(outcome),
                outcome in judgement.truth.outcomes,
                place.offset < learned[place.partition] if learned[place.partition] >= 0 else None,
            )
            for place, outcome in written
        ]

    def _rows(
        self, known_ms: Iterable[int], written: Sequence[tuple[Place, Outcome]], totals: Sequence[Any]
    ) -> RowsFound | None:
        if self._client is None:
            return None
        decided = [(place, outcome) for place, outcome in written if outcome.kind != "shown"]
        times_ms = {*known_ms, *(_event_ms(outcome) for _, outcome in decided)}
        minutes = {ts_ms - ts_ms % MINUTE_MS for ts_ms in times_ms} | rows.moments(totals)
        topic = self._cluster.topic("outcomes")
        sunk = committed_offsets(self._cluster, self._request.sink_group, topic, self._shards)
        behind = sum(place.offset >= sunk[place.partition] for place, _ in decided)
        return RowsFound(
            rows.outcome_rows(self._client, self._id, times_ms), rows.promoted(self._client, minutes), behind
        )

    def _note_gaps(
        self,
        range_: Range,
        partition: int,
        judgement: Judgement,
        written: Sequence[tuple[Place, Outcome]],
    ) -> None:
        """Says what this trace cannot know."""
        for log in INPUTS:
            start = range_.start[partition][log]
            if start > 0:
                kept = range_.first[partition][log]
                why = "Kafka keeps no earlier ones" if start == kept else "earlier ones were not read; give --from"
                self._not_known.append(
                    f"{self._cluster.topic(log)}[{partition}] was read from offset {start}, {why}: a copy before it "
                    "would make the first record here a duplicate or a conflict"
                )
        found = [outcome for _, outcome in written]
        for outcome in judgement.truth.outcomes:
            if outcome not in found:
                self._not_known.append(
                    f"by the rules there is an outcome of kind {outcome.kind}, and {self._cluster.topic('outcomes')} "
                    "has none such from the times that were read: `clickfold verify` says whether the run is sound"
                )


def _traced(log: str, place: Place, record: Record, fate: Fate) -> TracedRecord:
    event = event_of(log, record.value)
    fields = as_fields(event) if isinstance(event, msgspec.Struct) else None
    text = (record.value or b"")[:_TEXT_BYTES].decode(errors="replace")
    key = record.key.decode(errors="replace") if record.key is not None else None
    return TracedRecord(log, place, key, fields, text, fate)


def _with_redriven(record: TracedRecord, sent_ms: Mapping[tuple[str, int, int], int]) -> TracedRecord:
    place = record.place
    at_ms = sent_ms.get((place.topic, place.partition, place.offset))
    if at_ms is None:
        return record
    return msgspec.structs.replace(record, fate=msgspec.structs.replace(record.fate, redriven_ms=at_ms))


def _elsewhere(letter: tuple[Rejected, Place] | None) -> Fate:
    """The fate of a record in another partition than that of the id."""
    if letter is None:
        return Fate("elsewhere")
    return Fate(str(letter[0].reason), letter[0].detail, letter[1])


def _event_ms(outcome: Outcome) -> int:
    return outcome.ts if outcome.ts is not None else outcome.click_ts or 0


def _before(known_ms: Sequence[int], bounds: JoinBounds) -> str:
    """Where to begin, given event times of the id: no accepted record of it has an earlier timestamp of Kafka's."""
    if not known_ms:
        return "earliest"
    return _at(known_ms[0] - bounds.future_ms - bounds.window_ms - bounds.skew_ms - _CLOCKS_MS)


def _at(ts_ms: int) -> str:
    return f"time:{datetime.fromtimestamp(max(ts_ms, 0) / 1_000, UTC).isoformat()}"


def _if_time(from_text: str) -> str:
    """A text for other topics: offsets are those of the inputs."""
    return "earliest" if ";" in from_text or "=" in from_text else from_text
