"""Made-up traffic has the shape of real traffic, and is the same for the same seed."""

from collections import Counter
from itertools import pairwise

import pytest

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.events import Click, Impression
from schemas.records import Record
from streams.inputs.traffic import Events, Traffic, default_span_ms
from streams.verify.oracle import truth

END_MS = 1_700_000_000_000
COUNT = 60_000


def made(*, seed: int = 1, impressions: int = COUNT, **more: float) -> tuple[Events, Events]:
    """Both logs as a whole."""
    batches = list(Traffic(impressions=impressions, seed=seed, end_ms=END_MS, **more).batches())  # type: ignore[arg-type]
    return joined([shown for shown, _ in batches]), joined([clicked for _, clicked in batches])


def joined(parts: list[Events]) -> Events:
    """Stretches of one log, one after the other."""
    return Events(
        [key for part in parts for key in part.keys],
        [value for part in parts for value in part.values],
        [ts_ms for part in parts for ts_ms in part.ts_ms],
    )


@pytest.fixture(scope="module")
def logs() -> tuple[Events, Events]:
    """Impressions and clicks of one seed."""
    return made()


def test_a_seed_gives_the_same_traffic_and_another_seed_another(logs: tuple[Events, Events]) -> None:
    assert made() == logs
    assert made(seed=2) != logs


def test_every_event_decodes_and_its_key_and_time_are_those_of_the_columns(logs: tuple[Events, Events]) -> None:
    shown, clicked = logs
    events: list[Impression | Click] = [decode(value, Impression) for value in shown.values]
    events += [decode(value, Click) for value in clicked.values]
    assert [event.impression_id.encode() for event in events] == shown.keys + clicked.keys
    assert [event.ts for event in events] == shown.ts_ms + clicked.ts_ms
    assert {len(key) for key in shown.keys} == {32}


def test_every_impression_is_asked_for_and_one_in_a_hundred_is_clicked(logs: tuple[Events, Events]) -> None:
    shown, clicked = logs
    assert len(set(shown.keys)) == COUNT
    assert set(clicked.keys) <= set(shown.keys)
    assert len(clicked.keys) / COUNT == pytest.approx(0.01, rel=0.1)
    expected = sum(decode(value, Impression).pctr or 0.0 for value in shown.values)
    assert len(clicked.keys) == pytest.approx(expected, rel=0.12)
    assert made(impressions=1_000, click_rate=0.0)[1].keys == []


def test_the_join_accepts_all_of_it_and_bills_every_click(logs: tuple[Events, Events]) -> None:
    now_ms = END_MS
    records = [[Record(at, now_ms, *row[:2]) for at, row in enumerate(zip(*log, strict=True))] for log in logs]
    result = truth(records[0], records[1], JoinBounds(negative_rate=0.0))
    counts = result.impressions.counts
    assert counts["consumed"] == counts["accepted"] == COUNT
    assert result.clicks.counts["consumed"] == result.counts["billable"] == len(logs[1].keys)


def test_a_few_campaigns_creatives_and_placements_get_most_of_it(logs: tuple[Events, Events]) -> None:
    events = [decode(value, Impression) for value in logs[0].values]
    for name, distinct, head in (("campaign_id", 1_000, 20), ("placement", 20, 3)):
        counts = Counter(getattr(event, name) for event in events)
        assert 0.9 * distinct < len(counts) <= distinct
        assert sum(count for _, count in counts.most_common(head)) > 0.45 * COUNT
    assert len({event.creative_id for event in events}) > 5_000


def test_logs_are_in_order_of_arrival_and_slightly_out_of_order_in_event_time(logs: tuple[Events, Events]) -> None:
    shown, clicked = logs
    backwards = sum(after < before for before, after in pairwise(shown.ts_ms))
    assert 0.2 * COUNT < backwards < 0.6 * COUNT
    highest = 0
    for ts_ms in shown.ts_ms:
        assert ts_ms > highest - 15_000
        highest = max(highest, ts_ms)
    assert any(after < before for before, after in pairwise(clicked.ts_ms))


def test_event_times_fill_the_span_and_end_before_the_clock(logs: tuple[Events, Events]) -> None:
    span_ms = default_span_ms(JoinBounds())
    assert span_ms == 3 * (1_800_000 + 5_000 + 120_000)
    assert max(logs[0].ts_ms) - min(logs[0].ts_ms) == pytest.approx(span_ms, rel=0.01)
    assert max(*logs[0].ts_ms, *logs[1].ts_ms) < END_MS
    short = made(impressions=1_000, span_ms=60_000)
    assert max(short[0].ts_ms) - min(short[0].ts_ms) < 75_000


def test_the_two_logs_advance_together() -> None:
    for shown, clicked in Traffic(impressions=COUNT, seed=1, end_ms=END_MS).batches():
        # The last stretch has the clicks that are still to come.
        assert not clicked.ts_ms or min(clicked.ts_ms) > min(shown.ts_ms) - 20_000


def test_a_click_comes_a_minute_after_its_impression_on_average(logs: tuple[Events, Events]) -> None:
    shown = dict(zip(logs[0].keys, logs[0].ts_ms, strict=True))
    delays_ms = [ts_ms - shown[key] for key, ts_ms in zip(logs[1].keys, logs[1].ts_ms, strict=True)]
    assert sum(delays_ms) / len(delays_ms) == pytest.approx(60_000, rel=0.15)
    assert min(delays_ms) >= 0
    assert max(delays_ms) <= 600_000


def test_an_impression_has_about_300_bytes(logs: tuple[Events, Events]) -> None:
    assert 280 < sum(map(len, logs[0].values)) / COUNT < 320


@pytest.mark.parametrize(
    "wrong",
    [
        {"impressions": 0},
        {"click_rate": 0.21},
        {"click_rate": -0.1},
        {"span_ms": 0},
        {"keys": -1},
        {"duplicates": 1.1},
        {"more_bytes": -1},
    ],
)
def test_traffic_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Traffic(**{"impressions": 1, "seed": 1, "end_ms": END_MS, **wrong})  # type: ignore[arg-type]


def test_so_many_keys_so_much_more_text_and_so_many_duplicates_as_asked_for() -> None:
    shown, _ = made(impressions=20_000, keys=100)
    names = ("creative_id", "placement", "country", "device")
    found = {tuple(getattr(decode(value, Impression), name) for name in names) for value in shown.values}
    assert len(found) == 100
    plain, longer = made(impressions=100)[0], made(impressions=100, more_bytes=500)[0]
    assert [len(value) for value in longer.values] == [len(value) + 500 + len(',"more":""') for value in plain.values]
    doubled = Counter(made(impressions=20_000, duplicates=0.5)[0].keys)
    assert set(doubled.values()) == {1, 2}
    assert sum(count == 2 for count in doubled.values()) == pytest.approx(10_000, rel=0.05)
