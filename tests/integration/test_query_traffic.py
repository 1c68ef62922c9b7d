"""Named queries about impressions and clicks, held against plain Python over the records and figures told by hand."""

import time
from collections import Counter
from typing import Any

import msgspec
import pytest
import xxhash
from clickhouse_connect.driver.client import Client
from statsmodels.stats.proportion import proportion_confint

from schemas.bounds import JoinBounds
from schemas.clickhouse.queries import queries
from schemas.outcomes import Outcome
from streams.embedded.clickhouse import ClickHouse
from streams.sink.settings import Progress
from streams.sink.shared_clicks import SharedClicks
from streams.warehouse.client import Warehouse
from tests.golden import HOUR_MS, MINUTE_MS, answered, insert, total
from tests.waiting import eventually
from tests.world import impressions, outcomes

pytestmark = pytest.mark.clickhouse


def click(name: str, delay_ms: int = 1_000, *, number: int = 0, kind: Any = "click", **more: Any) -> Outcome:
    """The number-th click on an impression shown at 22:00."""
    given = {"ts": HOUR_MS, "campaign_id": "k1", "price_micros": 5, **more}
    return Outcome(
        kind, name, 0, click_id=f"{name}-{number}", click_ts=given["ts"] + delay_ms, delay_ms=delay_ms, **given
    )


def unclicked(name: str, *, weight: float = 1.0, **more: Any) -> Outcome:
    return Outcome("unclicked", name, 0, weight=weight, **{"ts": HOUR_MS, "campaign_id": "k1", **more})


def user_hash(user_id: str) -> str:
    return str(xxhash.xxh3_64_intdigest(user_id.encode()))


@pytest.mark.parametrize(("confidence", "z"), [(0.95, {}), (0.99, {"z": "2.5758293035489004"})])
def test_intervals_of_creatives_are_wilsons(golden: Client, confidence: float, z: dict[str, str]) -> None:
    shown = Counter(one.creative_id for one in impressions())
    clicked = Counter(one.creative_id for one in outcomes() if one.kind == "click")
    found = {row["creative_id"]: row for row in answered(golden, "top_creatives", **z)}
    assert found.keys() == shown.keys()
    for creative, row in found.items():
        interval = proportion_confint(clicked[creative], shown[creative], alpha=1 - confidence, method="wilson")
        assert (row["impressions"], row["attributed_clicks"]) == (shown[creative], clicked[creative])
        assert (row["ctr_low"], row["ctr_high"]) == pytest.approx(interval, abs=1e-6)


def test_creatives_by_their_surest_rate(ads: Client) -> None:
    creatives = {"lucky": (2, 1), "proven": (1_000, 100), "costly": (1_000, 10)}
    insert(
        ads,
        "totals",
        [
            total(0, version=1, creative_id=name, impressions=shown, attributed_clicks=clicks)
            for name, (shown, clicks) in creatives.items()
        ],
    )
    ordered = [row["creative_id"] for row in answered(ads, "top_creatives", order="ctr_low")]
    # Lower ends: of 1 in 2 0.0945, of 100 in 1,000 0.0829, of 10 in 1,000 0.0054.
    assert ordered == ["lucky", "proven", "costly"]
    insert(ads, "totals", [total(0, version=2, creative_id="lucky", impressions=3, attributed_clicks=1)])
    # Of 1 in 3 it is 0.0615.
    assert answered(ads, "top_creatives", order="ctr_low")[0]["creative_id"] == "proven"


def test_a_minute_of_clicks_alone_has_no_rate(ads: Client) -> None:
    insert(ads, "totals", [total(0, version=1, clicks=2, spend_micros=30)])
    (row,) = answered(ads, "ctr_by_campaign_hour")
    assert (row["impressions"], row["ctr"], row["clicks"], row["spend_micros"]) == (0, None, 2, 30)
    assert answered(ads, "top_creatives", impressions="0") == []


def test_a_delay_on_an_edge_belongs_to_the_row_that_begins_there(ads: Client) -> None:
    delays = (-1, 0, 999, 1_000)
    insert(ads, "outcomes", [click(f"i{delay}", delay) for delay in delays])
    insert(ads, "outcomes", [click("i0", 70, number=1, kind="repeat")])
    found = [list(row.values()) for row in answered(ads, "click_delay_histogram", edges_ms="[1000,0]")]
    # 1 of 4 below 0, then 2 of 4, then the last.
    assert found == [[None, 0, 1, 0.25, 0.25], [0, 1_000, 2, 0.5, 0.75], [1_000, None, 1, 0.25, 1]]


def test_the_histogram_counts_every_billable_click_once(golden: Client) -> None:
    delays = [one.delay_ms or 0 for one in outcomes() if one.kind == "click"]
    for row in answered(golden, "click_delay_histogram"):
        low, high = row["from_ms"], row["to_ms"]
        inside = [at for at in delays if (low is None or low <= at) and (high is None or at < high)]
        below = [at for at in delays if high is None or at < high]
        assert row["clicks"] == len(inside)
        assert row["cumulative_share"] == pytest.approx(len(below) / len(delays), abs=1e-6)


def test_the_kept_sample_stands_for_the_unclicked_of_final_minutes(ads: Client) -> None:
    insert(
        ads,
        "totals",
        [
            total(0, version=1, final=True, impressions=100, attributed_clicks=4),
            total(1, version=1, impressions=50, attributed_clicks=1),
        ],
    )
    insert(ads, "outcomes", [unclicked(f"i{at}", weight=20.0) for at in range(5)])
    insert(ads, "outcomes", [unclicked("later", weight=20.0, ts=HOUR_MS + MINUTE_MS), click("clicked")])
    # 100 - 4 = 96 unclicked; 5 * 20 = 100 stood for; (100 - 96) / sqrt(5 * 20 * 19) = 0.09.
    assert [list(row.values()) for row in answered(ads, "unclicked")] == [["k1", 100, 4, 96, 96, 5, 100, 0.09]]
    # A span that begins within a minute begins with the next one, in outcomes too.
    assert answered(ads, "unclicked", since="2023-11-14 22:00:30") == []


def test_impressions_of_a_user_are_exact_only_without_thinning(ads: Client) -> None:
    people = [
        click("i1", user_id="u1"),
        click("i1", number=1, kind="repeat", user_id="u1"),
        click("i2", user_id="u1"),
        unclicked("i3", user_id="u1"),
        unclicked("i4", user_id="u2"),
        unclicked("i5"),
    ]
    insert(ads, "outcomes", people)

    def found() -> list[tuple[Any, ...]]:
        rows = answered(ads, "frequency")
        return [(row["measure"], row["per_user"], row["users"], row["exact"]) for row in rows]

    # u1: 2 clicks, and 3 impressions with the one not clicked; u2: 1 impression; i5 is nobody's.
    assert found() == [("clicks", 2, 1, True), ("impressions", 1, 1, True), ("impressions", 3, 1, True)]
    insert(ads, "outcomes", [unclicked("i6", weight=20.0, user_id="u2")])
    # u2: 1 + 20 now, said of the last row: so many or more.
    assert found() == [("clicks", 2, 1, True), ("impressions", 3, 1, False), ("impressions", 20, 1, False)]
    assert answered(ads, "frequency")[-1]["and_more"]


def test_users_are_sampled_by_their_hash(golden: Client) -> None:
    clicked = Counter(one.user_id for one in outcomes() if one.kind == "click" and one.user_id)
    kept = {user: count for user, count in clicked.items() if int(user_hash(user or "")) % 2 == 0}
    assert 0 < len(kept) < len(clicked)
    for one_in, expected in (("1", clicked), ("2", kept)):
        rows = [row for row in answered(golden, "frequency", one_in=one_in) if row["measure"] == "clicks"]
        assert {row["per_user"]: row["users"] for row in rows} == Counter(expected.values())
        assert {row["users_estimated"] // row["users"] for row in rows} == {int(one_in)}
        assert {row["exact"] for row in rows} == {one_in == "1"}


def test_a_click_id_charged_in_two_partitions_is_shown_with_the_charge_before_it(ads: Client) -> None:
    def charged(click_id: str, second: int, partition: int, **more: Any) -> Outcome:
        name = f"{click_id} in {partition} at {second}"
        return msgspec.structs.replace(click(name, 1_000 * second, **more), click_id=click_id, join_partition=partition)

    # Ten seconds apart are within 10,000 ms, ten and a half are not. A repeat is not charged.
    near = [charged("c1", 0, 0), charged("c1", 10, 1, campaign_id="k2", price_micros=7), charged("c1", 15, 2)]
    apart = [charged("c2", 0, 0), msgspec.structs.replace(charged("c2", 10, 1), click_ts=HOUR_MS + 10_001)]
    insert(
        ads, "outcomes", [*near, *apart, charged("c3", 0, 0), charged("c3", 1, 1, kind="repeat"), charged("c4", 0, 0)]
    )
    columns = (
        "click_id",
        "campaign_id",
        "join_partition",
        "spend_micros",
        "before_join_partition",
        "before_campaign_id",
    )

    def found(**values: str) -> list[tuple[Any, ...]]:
        rows = answered(ads, "shared_click_ids", within_ms="10000", **values)
        return [tuple(row[name] for name in columns) for row in rows]

    of_k2, of_k1 = ("c1", "k2", 1, 7, 0, "k1"), ("c1", "k1", 2, 5, 1, "k2")
    assert found() == [of_k2, of_k1]
    # The charge before may lie before the range, and be of another campaign.
    assert found(since="2023-11-14 22:00:10") == [of_k2, of_k1]
    assert found(since="2023-11-14 22:00:11") == found(campaign="k1") == [of_k1]
    assert found(until="2023-11-14 22:00:15") == [of_k2]
    assert {row["click_id"] for row in answered(ads, "shared_click_ids")} == {"c1", "c2"}


def test_the_default_time_between_clicks_of_one_id_is_the_dedupe_horizon_of_the_join() -> None:
    (within,) = [each for each in queries()["shared_click_ids"].parameters if each.name == "within_ms"]
    assert int(within.default) == JoinBounds().dedupe_ms


def test_each_sign_of_invalid_traffic_begins_at_its_bound(ads: Client) -> None:
    # Six clicks in a minute are more than five.
    insert(ads, "outcomes", [click(f"bot{at}", 1_000 + at, user_id="bot", campaign_id="k3") for at in range(6)])
    insert(ads, "outcomes", [click(f"office{at}", user_id="office") for at in range(5)])
    insert(ads, "outcomes", [click(f"nobody{at}") for at in range(9)])
    insert(ads, "outcomes", [click("soon", 199, user_id="quick"), click("person", 200, user_id="quick")])
    insert(ads, "outcomes", [click("same", 0), click("before", -1)])
    insert(ads, "outcomes", [click("same", 3_000 * at, number=at, kind="repeat") for at in (1, 2)])
    insert(ads, "outcomes", [click("twice"), click("twice", 3_000, number=1, kind="repeat")])
    insert(ads, "outcomes", [click(f"roam{at}", user_id="roamer", campaign_id=f"r{at}") for at in range(2)])
    rows = answered(ads, "invalid_traffic", campaigns="2")
    found = {(row["signal"], row["user_hash"], row["impression_id"], row["campaign_id"]): row for row in rows}
    counted = {key: (row["clicks"], row["campaigns"], row["billed_micros"]) for key, row in found.items()}
    assert counted == {
        # What is billed: 5 a click, nothing a repeat.
        ("burst", user_hash("bot"), "", "k3"): (6, 1, 30),
        ("too_soon", user_hash("quick"), "", "k1"): (1, 1, 5),
        ("too_soon", "", "", "k1"): (1, 1, 5),
        ("negative_delay", "", "", "k1"): (1, 1, 5),
        ("many_on_one", "", "same", "k1"): (3, 1, 5),
        ("many_campaigns", user_hash("roamer"), "", ""): (2, 2, 10),
    }
    assert found["too_soon", user_hash("quick"), "", "k1"]["shortest_ms"] == 199


def test_the_sink_counts_the_shared_clicks_of_the_last_day(ads: Client, clickhouse: ClickHouse) -> None:
    def charged(click_id: str, minutes_ago: int, partition: int) -> Outcome:
        click_ts = int(time.time() * 1_000) - minutes_ago * 60_000
        return Outcome(
            kind="click",
            impression_id=f"i{click_id}{partition}",
            join_partition=partition,
            label=1,
            click_id=click_id,
            click_ts=click_ts,
            delay_ms=1_000,
            ts=click_ts - 1_000,
            campaign_id="k1",
            creative_id="x",
            price_micros=5,
        )

    insert(ads, "outcomes", [charged("a", 5, 0), charged("a", 4, 1), charged("b", 3, 0)])
    insert(ads, "outcomes", [charged("c", 3_000, 0), charged("c", 2_999, 1)])
    progress = Progress()
    warehouse = Warehouse(clickhouse.url, str(ads.database))
    with SharedClicks(warehouse, progress, every_s=0.1):
        eventually(lambda: progress.shared_clicks, equals=1)
    nowhere = Progress(shared_clicks=1)
    with SharedClicks(Warehouse("http://127.0.0.1:9", "ads"), nowhere, every_s=0.1):
        eventually(lambda: nowhere.shared_clicks, equals=None)
