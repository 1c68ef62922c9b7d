"""What `clickfold trace` answers, as values: the words are made elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.events import EventMs


class Place(msgspec.Struct, frozen=True):
    """Where a record is in Kafka, and Kafka's timestamp of it, -1 for none."""

    topic: str
    partition: int
    offset: int
    record_ts_ms: EventMs = -1


class Fate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a record of an input.

    `name`: `accepted`, `duplicate`, a reason of `ads.rejects`, `held` (it waits for confirmation) or `not_read` (the
    join has not committed so far). `detail` is that of the dead letter. `letter`: where that is; None without one.
    `twin`: the offset of the earlier record with the same id. `redriven_ms`: when it was sent again, mended.
    """

    name: str
    detail: str = ""
    letter: Place | None = None
    twin: int | None = None
    redriven_ms: EventMs | None = None


class TracedRecord(msgspec.Struct, frozen=True):
    """A record of an input that has the id as its key, or names it in its value.

    `event` is what the join reads; None where it is no event, or where Kafka keeps only its dead letter. `text` is the
    beginning of its value.
    """

    input: str
    place: Place
    key: str | None
    event: dict[str, Any] | None
    text: str
    fate: Fate
    gone: bool = False


class TracedOutcome(msgspec.Struct, frozen=True):
    """A record of `ads.outcomes`. `as_computed`: the rules give the same from the records that were read.

    `learned`: whether the learner has committed it; None when it has no group.
    """

    place: Place
    outcome: dict[str, Any]
    as_computed: bool
    learned: bool | None = None


class ImpressionDecision(msgspec.Struct, frozen=True):
    """An accepted impression. `kind`: `clicked`, `unclicked`, or `open` while a click may still match.

    `closes_at_ms`: it closes once no click below this is awaited; `clicks_awaited_from_ms` is how far that is.
    """

    offset: int
    ts: EventMs
    kind: str
    sampled: bool
    closes_at_ms: EventMs
    clicks_awaited_from_ms: EventMs


class ClickDecision(msgspec.Struct, frozen=True):
    """An accepted click. `kind`: `click` (billed), `repeat`, `orphan`, or `pending` while its impression may come.

    `impression_offset`: the accepted impression of this id that is nearest in time; None without one. `delay_ms` is
    from it to the click. `price_micros` is what was billed. A pending click is an orphan once no impression below
    `orphan_at_ms` is awaited; `impressions_awaited_from_ms` is how far that is.
    """

    offset: int
    click_id: str
    ts: EventMs
    kind: str
    impression_offset: int | None
    delay_ms: int | None
    price_micros: int
    orphan_at_ms: EventMs
    impressions_awaited_from_ms: EventMs


class Counted(msgspec.Struct, frozen=True):
    """What this id adds to one total, and the total so far.

    `of`: `minute` or `campaign`, whose time is a quarter-hour. `total` is that of Kafka, in this join partition; None
    while none is published. `row` is that of ClickHouse over all join partitions; None without one.
    """

    of: str
    start_ms: EventMs
    names: dict[str, str]
    adds: dict[str, int]
    total: dict[str, int] | None
    final: bool
    place: Place | None
    row: dict[str, int] | None = None


class RowsFound(msgspec.Struct, frozen=True):
    """What ClickHouse has: the rows of `outcomes`, and by minute the run that a promotion shows in place of live work.

    `sink_behind`: outcomes of this id that the sink has yet to write.
    """

    outcomes: list[dict[str, Any]]
    promoted: dict[EventMs, str]
    sink_behind: int


class ReadRange(msgspec.Struct, frozen=True):
    """Offsets of one partition that were looked through, [start, stop), and the first one that Kafka keeps."""

    topic: str
    partition: int
    start: int
    stop: int
    first_kept: int


class Trace(msgspec.Struct, frozen=True):
    """The whole answer. `partition` is the join's for this id. `not_known`: sentences about what was not found out."""

    impression_id: str
    partition: int
    bounds: dict[str, Any]
    records: list[TracedRecord]
    impressions: list[ImpressionDecision]
    clicks: list[ClickDecision]
    outcomes: list[TracedOutcome]
    counted: list[Counted]
    clickhouse: RowsFound | None
    read: list[ReadRange]
    not_known: list[str]
