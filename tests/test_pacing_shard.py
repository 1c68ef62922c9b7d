"""A partition's state through crashes, zombies and compaction: what is counted equals the oracle's sums."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import to_builtins
from msgspec.structs import replace

from schemas.errors import StateMismatch
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.topics import DAY_MS
from schemas.totals import QUARTER_MS, CampaignTotal
from streams.pacing.changelog import BEGINNING, Head, Origin, decode_row, encode_row, head_key, is_owner_key, owner_key
from streams.pacing.counters import PacedMeasures, measures_of
from streams.pacing.local_day import day_of
from streams.pacing.shard import HORIZON_MS, Forgotten, Shard, Write
from tests.effort import tries
from tests.factories import change
from tests.test_pacing_counters import DAY, oracle, total

HOUR_MS = 3_600_000
NOW_MS = DAY * DAY_MS + HOUR_MS
BERLIN = Campaign("c1", 24_000_000, "Europe/Berlin", "active", "even", 1)


class Log:
    """A changelog partition: appended to by anyone, compacted now and then as Kafka does (the last of a key stays)."""

    def __init__(self) -> None:
        self.records: list[Write] = []

    def compact(self) -> None:
        last = {write.key: at for at, write in enumerate(self.records)}
        self.records = [self.records[at] for at in sorted(last.values())]


class Owner:
    """A worker on one partition, alive or taken for dead; it can be stopped between any two sent rows."""

    def __init__(self, log: Log, totals: list[CampaignTotal], *, epoch_s: int, owner: int) -> None:
        self.log = log
        self.totals = totals
        self.shard = Shard()
        for key, value in log.records:
            self.shard.restore(key, value)
        self.unsent = self.shard.open(epoch_s=epoch_s, owner=owner)
        self.next = max(self.shard.position, 0)

    def send(self, rows: int) -> None:
        """Sends some of the rows in hand; the end of them is acknowledged, then the next ones may be taken."""
        self.log.records += self.unsent[:rows]
        del self.unsent[:rows]
        if not self.unsent:
            self.shard.flushed(epoch=self.shard.epoch)

    def count(self, records: int) -> None:
        """Counts the next batch and takes rows in hand: not all that changed."""
        self.send(len(self.unsent))
        batch = self.totals[self.next : self.next + records]
        self.shard.count(batch)
        self.next += len(batch)
        self.shard.advance(self.next, epoch=self.shard.epoch)
        self.unsent = self.shard.flush(2)

    def tick(self) -> None:
        """Decides."""
        self.shard.tick(event_ms=NOW_MS, counted_to_ms=NOW_MS)


def counted(shard: Shard, campaign_id: str = "c1") -> dict[int, PacedMeasures]:
    return {quarter % DAY_MS // QUARTER_MS: sums for quarter, sums in shard.quarters(campaign_id)}


actions = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("send"), st.integers(0, 1), st.integers(1, 2)),
        st.tuples(st.just("take over"), st.just(0), st.integers(0, 3)),
        st.tuples(st.just("compact"), st.just(0), st.just(0)),
        st.tuples(st.just("tick"), st.integers(0, 2), st.just(0)),
    ),
    min_size=6,
    max_size=30,
)
quarters = st.integers(0, 2)
campaign_ids = st.sampled_from(["c1", "c2", "c3"])


@st.composite
def topics(draw: st.DrawFn) -> list[CampaignTotal]:
    """Growing totals of few keys, hardly repeated: a lost one is seldom made good by a later one."""
    sent = [
        replace(total(version=at + 1, amount=at + 1, quarter=draw(quarters)), campaign_id=draw(campaign_ids))
        for at in range(draw(st.integers(4, 24)))
    ]
    repeats = draw(st.lists(st.sampled_from(sent), max_size=3))
    return sent + repeats


@settings(max_examples=tries(1_000))
@given(topics(), actions)
def test_crashes_zombies_and_compaction_lose_nothing(
    topic: list[CampaignTotal], steps: list[tuple[str, int, int]]
) -> None:
    log = Log()
    owners = [Owner(log, topic, epoch_s=0, owner=0)]
    for action, who, how_many in steps:
        owner = owners[max(0, len(owners) - 1 - who)]  # 0: the one in charge; others were taken for dead
        if action == "count":
            owner.count(how_many)
        elif action == "send":
            owner.send(how_many)
        elif action == "tick":
            owner.tick()
        elif action == "compact":
            log.compact()
        else:
            owners.append(Owner(log, topic, epoch_s=how_many, owner=len(owners)))
    last = Owner(log, topic, epoch_s=0, owner=len(owners))
    last.count(len(topic))
    for campaign_id in ("c1", "c2", "c3"):
        assert counted(last.shard, campaign_id) == oracle([one for one in topic if one.campaign_id == campaign_id])


def test_reading_goes_on_from_the_position_of_a_zombie() -> None:
    origin = Origin()
    for epoch, position in ((5, BEGINNING), (5, 100), (6, 100), (6, 300), (5, 150), (6, 400)):
        origin.read(decode_row(encode_row(None, epoch=epoch, owner=epoch, position=position)))
    assert (origin.epoch, origin.position) == (6, 150)
    origin.read(decode_row(encode_row(None, epoch=7, owner=1, position=150)))
    origin.read(decode_row(encode_row(None, epoch=7, owner=1, position=200)))
    assert (origin.epoch, origin.position) == (7, 200)


def test_a_batch_of_before_a_rebalance_does_not_move_the_position_after_it() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.count([total(version=1)])
    shard.open(epoch_s=1, owner=2)
    shard.advance(1, epoch=1)
    assert shard.position == BEGINNING


def test_an_owner_deletes_the_rows_former_ones_began_with() -> None:
    log = Log()
    for owner in range(3):
        log.records += Owner(log, [], epoch_s=0, owner=owner).unsent
    assert [write.value is None for write in log.records] == [False, False, True, False, True]
    log.compact()
    assert len([write for write in log.records if write.value is not None]) == 1


def test_of_two_owners_with_one_epoch_the_lower_position_holds() -> None:
    origin = Origin()
    for owner, position in ((1, 100), (2, 100), (1, 300), (2, 200), (1, 400)):
        origin.read(decode_row(encode_row(None, epoch=5, owner=owner, position=position)))
    assert origin.position == 100


def test_days_follow_the_zone_a_campaign_has_now() -> None:
    shard = Shard()
    spring = 20_541  # 2026-03-29: Berlin's day of 23 hours
    totals = [
        total(version=1, quarter=q, day=day, final=True) for day in range(spring - 1, spring + 2) for q in range(96)
    ]
    shard.count(totals)
    assert [spend.measures.clicks for spend in shard.days("c1")] == [96, 96, 96]
    for version, name, quarters in ((1, "Europe/Berlin", [92, 92, 96, 8]), (2, "Asia/Kathmandu", [73, 96, 96, 23])):
        shard.change(change(replace(BERLIN, version=version, timezone=name), number=version))
        assert [spend.measures.clicks for spend in shard.days("c1")] == quarters
        zone = ZoneInfo(name)
        assert [spend.start_ms for spend in shard.days("c1")] == [
            day_of(zone, s.start_ms).start_ms for s in shard.days("c1")
        ]


def decided(shard: Shard, event_ms: int, *, ticks: int = 1) -> list[PacingDecision | Forgotten]:
    """What the shard publishes in some ticks, a second apart, when everything is counted."""
    return [
        told
        for at_ms in range(event_ms, event_ms + 1_000 * ticks, 1_000)
        for told in shard.tick(event_ms=at_ms, counted_to_ms=at_ms)
    ]


def test_a_campaign_announced_after_its_totals_was_unknown_until_then() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.count([total(version=1, amount=10)])
    [unknown] = decided(shard, NOW_MS)
    assert isinstance(unknown, PacingDecision)
    assert (unknown.state, unknown.admit, unknown.spend_micros) == ("unknown", 0.0, 50)
    shard.change(change(BERLIN))
    [known] = decided(shard, NOW_MS + 1_000)
    assert isinstance(known, PacingDecision)
    assert (known.state, known.spend_micros, known.day_start) == ("on_plan", 50, DAY * DAY_MS - 2 * HOUR_MS)
    assert known.version > unknown.version
    shard.change(change(None, number=2))
    [gone] = decided(shard, NOW_MS + 2_000)
    assert isinstance(gone, PacingDecision)
    assert (gone.state, gone.admit) == ("unknown", 0.0)


def test_a_campaign_is_forgotten_once_after_its_flight_and_comes_back_with_a_new_one() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    ended = replace(BERLIN, end=NOW_MS)
    shard.change(change(ended))
    assert [type(one) for one in decided(shard, NOW_MS)] == [PacingDecision]
    assert decided(shard, NOW_MS + HORIZON_MS - 1) == []
    assert decided(shard, NOW_MS + HORIZON_MS + QUARTER_MS) == [Forgotten("c1")]
    assert decided(shard, NOW_MS + HORIZON_MS + 2 * QUARTER_MS) == []
    assert (len(shard.paced), shard.head("c1")) == (0, Head(ended, change=1, forgotten=True))
    later = Shard()
    for key, value in shard.flush():
        later.restore(key, value)
    later.open(epoch_s=2, owner=2)
    assert decided(later, NOW_MS + HORIZON_MS + 3 * QUARTER_MS) == []
    later.change(change(replace(ended, version=2, end=NOW_MS + 9 * DAY_MS), number=2))
    assert [type(one) for one in decided(later, NOW_MS + HORIZON_MS + 4 * QUARTER_MS)] == [PacingDecision]


def test_a_withdrawn_campaign_without_totals_is_forgotten_at_once() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.change(change(BERLIN))
    decided(shard, NOW_MS)
    shard.change(change(None, number=2))
    assert decided(shard, NOW_MS + 1_000) == [Forgotten("c1")]


def test_a_change_of_a_campaign_that_was_taken_before_changes_nothing() -> None:
    shard = Shard()
    paused = replace(BERLIN, version=4, status="paused")
    history = [change(paused), change(None, number=2), change(replace(BERLIN, version=5), number=3)]
    taken = [shard.change(one) for one in history]
    assert taken == [True, True, True]
    # After a rebalance the history is read from its beginning.
    assert not any(map(shard.change, history))
    assert dict(shard.campaigns())["c1"].campaign == replace(BERLIN, version=5)


def test_a_campaign_in_state_of_the_version_before_gives_way_to_the_history() -> None:
    head = msgspec.msgpack.encode([to_builtins(replace(BERLIN, version=5, status="paused")), None, None])
    row = msgspec.msgpack.encode([1, 1, 1, 0, msgspec.Raw(head)])
    shard = Shard()
    shard.restore(head_key("c1"), row)
    assert dict(shard.campaigns())["c1"].campaign == replace(BERLIN, version=5, status="paused")
    assert shard.change(change(BERLIN))
    assert dict(shard.campaigns())["c1"].campaign == BERLIN


def test_every_owner_sends_each_decision_with_a_higher_version_whatever_its_clock_says() -> None:
    log = Log()
    first = Shard()
    log.records += first.open(epoch_s=100, owner=1)
    first.change(change(BERLIN))
    [told] = decided(first, NOW_MS)
    # Versions go far above those of its epoch.
    first._version += 9 << 20
    decided(first, NOW_MS + 1_000, ticks=200)
    log.records += first.flush()
    last = first._version
    second = Shard()
    for key, value in log.records:
        second.restore(key, value)
    assert second.epoch == 0
    second.open(epoch_s=0, owner=2)  # a clock far behind
    [again] = decided(second, NOW_MS + 201_000)
    assert isinstance(told, PacingDecision)
    assert isinstance(again, PacingDecision)
    assert again.version > last > told.version
    assert decided(second, NOW_MS + 202_000) == []


def test_figures_are_said_within_seconds_also_where_the_share_stays() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.change(change(replace(BERLIN, status="paused")))
    decided(shard, NOW_MS)
    shard.count([total(version=1, amount=10, quarter=4)])
    told = decided(shard, NOW_MS + 1_000, ticks=6)
    assert [(one.spend_micros, one.state) for one in told if isinstance(one, PacingDecision)] == [(50, "paused")]


def test_yesterdays_last_impressions_are_in_flight_today() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.change(change(replace(BERLIN, timezone="UTC")))
    shard.count([total(version=1, quarter=95, day=DAY - 1, amount=1_000)])
    [early] = decided(shard, DAY * DAY_MS + 60_000)
    assert isinstance(early, PacingDecision)
    assert early.spend_micros == 0
    assert 0 < early.in_flight_micros < 17_000


def test_totals_older_than_the_days_kept_are_counted_as_expired() -> None:
    shard = Shard(days_kept=3)
    for day in range(DAY, DAY + 4):
        shard.count([total(version=1, day=day)])
    assert [spend.start_ms // DAY_MS for spend in shard.days("c1")] == [DAY + 1, DAY + 2, DAY + 3]
    shard.flush()
    shard.count([total(version=2, day=DAY)])
    assert shard.anomalies == {"expired": 1}
    shard.count([replace(total(version=2, day=DAY + 3), quarter=1)])
    assert shard.flush() == []
    assert shard.anomalies == {"expired": 1, "off_grid": 1}


def test_a_deleted_row_stays_deleted() -> None:
    log = Log()
    shard = Shard(days_kept=1)
    for day in (DAY, DAY + 1):
        shard.count([total(version=1, day=day)])
        log.records += shard.flush()
    again = Shard()
    for key, value in log.records:
        again.restore(key, value)
    assert again.days("c1") == shard.days("c1")
    assert [spend.measures for spend in again.days("c1")] == [measures_of(total(version=1))]


def test_only_known_totals_still_move_the_position_once_a_flush() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.count([total(version=1)])
    shard.advance(1, epoch=1)
    flushed(shard)
    shard.count([total(version=1)])
    shard.advance(2, epoch=1)
    flushed(shard)  # a round without rows
    [write] = flushed(shard)
    assert is_owner_key(write.key)
    assert write.value is not None
    assert decode_row(write.value).position == 2
    assert flushed(shard) == []


def flushed(shard: Shard, most: int = 100) -> list[Write]:
    """Rows of the shard, acknowledged."""
    writes = shard.flush(most)
    shard.flushed(epoch=shard.epoch)
    return writes


def test_a_row_states_a_position_only_when_all_rows_up_to_it_are_acknowledged() -> None:
    shard = Shard()
    shard.open(epoch_s=1, owner=1)
    shard.count([replace(total(version=1), campaign_id=name) for name in ("c1", "c2", "c3")])
    shard.advance(3, epoch=1)

    def position(writes: list[Write]) -> list[int]:
        return [decode_row(write.value).position for write in writes if write.value is not None]

    assert position(flushed(shard, 2)) == [BEGINNING, BEGINNING]
    shard.count([replace(total(version=2), campaign_id="c1")])  # written already in this round: again in the next
    shard.advance(4, epoch=1)
    assert position(flushed(shard, 2)) == [BEGINNING]
    assert position(flushed(shard, 2)) == [3]
    assert position(flushed(shard, 2)) == [4]
    assert flushed(shard) == []


@pytest.mark.parametrize("value", [b"", b"{}", b"\x95\x02\x01\x01\x01\xc0"])
def test_rows_of_another_program_are_refused(value: bytes) -> None:
    with pytest.raises(StateMismatch, match="delete the topic"):
        Shard().restore(owner_key(epoch=1, owner=1), value)
