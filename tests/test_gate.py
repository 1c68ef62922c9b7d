"""The gate of campaign records: what it accepts, what it refuses, and that a crash at any moment changes neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.campaigns import CampaignChange
from schemas.codec import decode, encode
from schemas.errors import DamagedState
from schemas.events import Campaign
from schemas.records import Out, Record, Records
from schemas.rejects import Reason, Rejected
from streams.campaigns.gate import GateFold
from streams.kafka.partitioners import PARTITIONERS
from tests.effort import tries
from tests.factories import T0
from tests.strategies import columns

FIRST = Campaign("c1", 5_000_000, "Europe/Berlin", "active", "even", 1, currency="EUR")
Sent = Campaign | bytes | None


def gate(counts: Counter[str] | None = None, *, partitions: int = 1) -> GateFold:
    fold = GateFold(
        partition=0,
        topic="ads.campaigns",
        belongs=partial(PARTITIONERS["murmur2"], partitions=partitions),
        counts=counts,
    )
    fold.begin(None, offsets={"campaigns": 0}, epoch=1)
    return fold


def record(offset: int, sent: Sent, key: bytes | None = b"c1") -> Record:
    value = encode(sent) if isinstance(sent, Campaign) else sent
    return Record(offset, T0 + offset, key, value)


def judged(*sent: Sent, counts: Counter[str] | None = None) -> tuple[list[CampaignChange], list[Rejected]]:
    """What a gate writes on records of c1."""
    return written(gate(counts).step(log(list(map(record, range(len(sent)), sent)))))


def log(records: Sequence[Record]) -> Records:
    return columns("campaigns", list(records), 0)


def written(outs: Sequence[Out]) -> tuple[list[CampaignChange], list[Rejected]]:
    changes = [decode(out.value or b"", CampaignChange) for out in outs if out.topic == "campaign_history"]
    assert [out.key for out in outs if out.topic == "campaign_history"] == [
        change.campaign_id.encode() for change in changes
    ]
    letters = [decode(out.value or b"", Rejected) for out in outs if out.topic == "rejects"]
    assert len(changes) + len(letters) == len(outs)
    return changes, letters


def refused(*sent: Sent) -> tuple[Reason, str]:
    """Why the last of the records was refused; those before it were accepted."""
    changes, (letter,) = judged(*sent)
    assert (letter.topic, letter.partition, letter.offset) == ("ads.campaigns", 0, len(sent) - 1)
    assert letter.record_ts_ms == T0 + len(sent) - 1
    assert len(changes) == len(sent) - 1
    return letter.reason, letter.detail


def test_accepted_campaigns_are_written_with_offset_and_time_in_force() -> None:
    later = replace(FIRST, version=7, daily_budget_micros=9)
    changes, letters = judged(FIRST, later)
    assert letters == []
    assert changes == [
        CampaignChange("c1", 1, T0, 0, 0, FIRST),
        CampaignChange("c1", 2, T0 + 1, 0, 1, later),  # versions may have gaps
    ]


def test_a_version_sent_again_with_other_content_is_refused() -> None:
    again = replace(FIRST, daily_budget_micros=6_000_000)
    reason, detail = refused(FIRST, again)
    assert reason == Reason.VERSION
    assert detail == "version 1 came before with other content; give other content a higher version"
    assert refused(FIRST, replace(FIRST, version=2), again)[1] == detail


def test_an_identical_record_sent_again_changes_nothing() -> None:
    counts = Counter[str]()
    second = replace(FIRST, version=2)
    spaced = orjson.dumps(orjson.loads(encode(FIRST)) | {"of_tomorrow": 1}, option=orjson.OPT_INDENT_2)
    changes, letters = judged(FIRST, FIRST, second, FIRST, spaced, second, counts=counts)
    assert ([change.offset for change in changes], letters) == ([0, 2], [])
    assert counts == {"accepted": 2, "unchanged": 4}


def test_a_new_version_below_the_last_accepted_is_refused() -> None:
    reason, detail = refused(replace(FIRST, version=5), replace(FIRST, version=4))
    assert (reason, detail) == (
        Reason.VERSION,
        "version 4 is below 5, the last accepted; give it a higher version",
    )


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "America", "../UTC"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    reason, detail = refused(replace(FIRST, timezone=name))
    assert reason == Reason.TIMEZONE
    assert repr(name) in detail
    assert refused(FIRST, replace(FIRST, version=2, timezone=name))[0] == Reason.TIMEZONE


@pytest.mark.parametrize("currency", ["USD", "eur", None])
def test_another_currency_than_before_is_refused(currency: str | None) -> None:
    reason, detail = refused(FIRST, replace(FIRST, version=2, currency=currency))
    assert reason == Reason.CURRENCY
    assert detail.startswith(
        f"currency {currency!r} in place of 'EUR'" if currency else "no currency in place of 'EUR'"
    )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"curve": [1.0, *[0.0] * 22, 0.1]}, "curve sums to 1.1; give shares of the day's budget that sum to 1"),
        ({"curve": [1 / 23] * 23}, "curve has 23 shares; give 24, one for each hour of the day, or 96"),
        ({"curve": [1.5, -0.5, *[0.0] * 22]}, "curve has a share of -0.5; give shares from 0 on"),
        ({"curve": None}, "pacing 'curve' and the field curve belong together; give both or neither"),
        ({"min_bid_multiplier": 0.9, "max_bid_multiplier": 0.5}, "min_bid_multiplier is 0.9, above max_bid"),
        ({"lifetime_budget_micros": 5}, "lifetime_budget_micros needs a flight; give start and end too"),
        (
            {"lifetime_budget_micros": 5, "start": T0, "end": T0 + 61 * 86_400_000},
            "lifetime_budget_micros needs a flight of at most 60 days; give an earlier end",
        ),
        ({"start": T0, "end": T0}, f"end is {T0}, not after start, {T0}; give a later one"),
        ({"dayparts": "funday 9-18"}, "dayparts has the day 'funday'; there are mon, tue, wed, thu, fri, sat, sun"),
        ({"dayparts": "mon 18-9"}, "dayparts has the hours 18-9; give a first and a later last one from 0 to 24"),
        ({"dayparts": "mon 9-25"}, "dayparts has the hours 9-25; give a first"),
        ({"dayparts": "mon-fri"}, "dayparts has 'mon-fri'; give days and hours, such as 'mon-fri 9-18, sat 10-14'"),
        ({"dayparts": ""}, "dayparts has ''; give days and hours"),
        ({"budget_id": "b"}, "budget_id and shared_budget_micros belong together; give both or neither"),
        ({"shared_budget_micros": 5}, "budget_id and shared_budget_micros belong together; give both or neither"),
        ({"priority": 1}, "priority needs a shared budget; give budget_id and shared_budget_micros too"),
        ({"frequency_cap": 3}, "frequency_cap and frequency_period_s belong together; give both or neither"),
    ],
)
def test_terms_that_contradict_each_other_are_refused(fields: dict[str, Any], sentence: str) -> None:
    even = replace(FIRST, pacing="curve", curve=[0.0] * 8 + [1 / 16] * 16)
    assert len(judged(even)[0]) == 1
    reason, detail = refused(replace(even, **fields))
    assert (reason, detail[: len(sentence)]) == (Reason.TERMS, sentence)


@pytest.mark.parametrize(
    "fields",
    [
        {"hourly_cap_micros": 2 * FIRST.daily_budget_micros},  # above the budget of the day
        {"dayparts": "mon-fri 9-18, sat 10-14"},
        {"dayparts": "fri-mon 0-24"},
        {"budget_id": "b", "shared_budget_micros": 0},
        {"budget_id": "b", "shared_budget_micros": 5, "priority": 100},
        {"frequency_cap": 1, "frequency_period_s": 60},
    ],
)
def test_terms_for_experts_are_accepted(fields: dict[str, Any]) -> None:
    ((change,), letters) = judged(replace(FIRST, **fields))
    assert (letters, change.campaign) == ([], replace(FIRST, **fields))


def test_a_currency_may_be_given_later_and_then_stays() -> None:
    bare = replace(FIRST, currency=None)
    assert len(judged(bare, replace(bare, version=2), replace(FIRST, version=3))[0]) == 3
    assert refused(bare, replace(FIRST, version=2), replace(bare, version=3))[0] == Reason.CURRENCY


@pytest.mark.parametrize(
    "fields",
    [
        {"daily_budget_micros": 5e6, "version": 2.0},
        {"daily_budget_micros": 5_000_000.0, "start": 1.7e12},
        {"max_bid_micros": 1e3, "unknown": [1]},
    ],
)
def test_whole_numbers_with_a_fraction_are_accepted_as_from_files(fields: dict[str, Any]) -> None:
    given = orjson.loads(encode(FIRST)) | fields
    ((change,), letters) = judged(orjson.dumps(given))
    assert letters == []
    assert change.campaign is not None
    whole = {name: int(value) for name, value in fields.items() if isinstance(value, float)}
    assert change.campaign == replace(FIRST, **whole)
    assert b"." not in encode(change.campaign)


@pytest.mark.parametrize(
    "fields",
    [
        *({"version": 1.5}, {"daily_budget_micros": "5"}, {"status": "gone"}, {"daily_budget_micros": -1}),
        *({"hourly_cap_micros": -1}, {"hourly_cap_micros": 0}, {"shared_budget_micros": -1}, {"priority": 101}),
        *({"priority": -1}, {"frequency_cap": 0}, {"frequency_period_s": 59}, {"budget_id": ""}),
    ],
)
def test_what_is_no_campaign_is_refused_and_the_last_version_stays(fields: dict[str, Any]) -> None:
    ((field, value),) = fields.items()
    reason, detail = refused(FIRST, orjson.dumps(orjson.loads(encode(FIRST)) | {"version": 2} | fields))
    assert reason == Reason.UNDECODABLE
    assert f"`$.{field}`" in detail, value


def test_a_campaign_under_another_key_or_in_another_partition_is_refused() -> None:
    _, (letter,) = written(gate().step(log([record(0, FIRST, b"c2")])))
    assert (letter.reason, letter.detail) == (Reason.KEY, "the Kafka key is not the campaign id")
    foreign = next(f"c{number}" for number in range(9) if PARTITIONERS["murmur2"](f"c{number}".encode(), 2) == 1)
    astray = record(0, replace(FIRST, campaign_id=foreign), foreign.encode())
    _, (letter,) = written(gate(partitions=2).step(log([astray])))
    assert letter.reason == Reason.KEY
    assert letter.detail.startswith("the key belongs to partition 1; ")


def test_a_tombstone_withdraws_a_campaign_and_the_same_version_brings_it_back() -> None:
    changes, letters = judged(None, FIRST, None, None, FIRST, FIRST)
    assert letters == []
    assert [(change.offset, change.campaign) for change in changes] == [(1, FIRST), (2, None), (4, FIRST)]
    # Withdrawing it does not free its versions.
    assert refused(FIRST, None, replace(FIRST, daily_budget_micros=1))[0] == Reason.VERSION


campaigns = st.builds(
    Campaign,
    st.just("c1"),
    st.integers(1, 2),
    st.sampled_from(["UTC", "UTC", "Mars/Olympus"]),
    st.just("active"),
    st.just("even"),
    st.integers(1, 4),
    currency=st.sampled_from([None, "EUR", "EUR", "USD"]),
)
logs = st.lists(st.one_of(campaigns, campaigns, st.sampled_from([None, b"{"])), min_size=1, max_size=14)
lives = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["commit", "abort", "crash", "checkpoint"])), max_size=12)


@settings(max_examples=tries(500))
@given(logs, lives)
def test_crashes_at_any_moment_leave_the_history_of_one_undisturbed_gate(
    sent: list[Sent], steps: list[tuple[int, str]]
) -> None:
    source = list(map(record, range(len(sent)), sent))
    expected = gate().step(log(source))
    committed: list[Out] = []
    mark: bytes | None = None
    snapshot: bytes | None = None

    def owner() -> GateFold:
        """The next owner, as the runner brings it up: checkpoint or rebuild, ownership, history, replay."""
        fold = GateFold(partition=0, topic="ads.campaigns", belongs=lambda _: 0)
        if mark is not None and snapshot is not None:
            fold.restore(snapshot)
        elif mark is not None:
            assert fold.rebuild_offsets(mark) == {"campaigns": decode(mark, dict)["next_offset"]}
            fold.rebuild(mark)
        fold.begin(mark, offsets={"campaigns": 0} if mark is None else fold.positions(), epoch=1)
        if mark is not None:
            assert fold.mark() == mark
        values = [out.value for out in committed if out.topic == "campaign_history"]
        nothing = [0] * len(values)
        fold.take_side_log(Records("campaign_history", 0, range(len(values)), nothing, [None] * len(values), values))
        end = decode(mark, dict)["next_offset"] if mark is not None else 0
        replay = source[fold.positions()["campaigns"] : end]
        if replay:
            assert fold.step(log(replay)) == []
        return fold

    fold = owner()
    for count, end in [*steps, (len(sent), "commit")]:
        at = fold.positions()["campaigns"]
        batch = source[at : at + count]
        outs = fold.step(log(batch)) if batch else []
        if end in ("commit", "checkpoint"):
            # Outputs and offset are one transaction.
            committed += outs
            mark = fold.mark()
        if end == "checkpoint":
            snapshot = fold.snapshot()
        if end in ("abort", "crash"):
            fold = owner()
    assert committed == expected


def test_a_damaged_checkpoint_is_not_used() -> None:
    snapshot = gate().snapshot()
    with pytest.raises(DamagedState):
        gate().restore(snapshot[:-1] + b"?")


def test_records_that_kafka_deleted_before_they_were_judged_are_passed_over() -> None:
    fold = gate()
    fold.skip_to({"campaigns": 7})
    assert fold.positions() == {"campaigns": 7}
    changes, _ = written(fold.step(log([record(7, FIRST)])))
    assert [change.offset for change in changes] == [7]
