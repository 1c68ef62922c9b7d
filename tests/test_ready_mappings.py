"""Each ready mapping makes the outcomes of a small sample, whose field names are those that the vendor publishes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping
from streams.mapping.ready import pages, ready, ready_names
from tests.published_fields import PUBLISHED
from tests.test_fold_command import run_here


def lines(*records: Any) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def table(delimiter: str, *rows: Sequence[object]) -> bytes:
    return "".join(delimiter.join(map(str, row)) + "\n" for row in rows).encode()


def bid(event: str, time: str, auction: str) -> dict[str, Any]:
    """A record of an OpenRTB log."""
    return {
        "event": event,
        "timestamp": time,
        "request": {
            "id": auction,
            "imp": [{"id": "1", "tagid": "top", "bidfloor": 0.5, "banner": {"w": 300, "h": 250}}],
            "site": {"id": "102855"},
            "device": {"geo": {"country": "DEU"}, "devicetype": 4, "os": "iOS"},
            "user": {"id": "u1"},
        },
        "response": {
            "id": auction,
            "seatbid": [
                {
                    "bid": [
                        {"id": "b", "impid": "1", "price": 2.5, "cid": "c7", "crid": "x9", "adomain": ["shop.example"]}
                    ]
                }
            ],
            "cur": "USD",
        },
    }


def snowplow(kind: str, time: str, **fields: Any) -> dict[str, Any]:
    """An enriched event."""
    context = f"unstruct_event_com_snowplowanalytics_snowplow_{kind}_1"
    return {
        "event_id": f"e-{time[-4:]}",
        "event_name": kind,
        "collector_tstamp": time,
        "geo_country": "DE",
        "dvce_type": "Mobile",
        "domain_userid": "d1",
        "os_family": "iOS",
        context: fields,
    }


def track(event: str, message: str, time: str, **properties: Any) -> dict[str, Any]:
    """A track call."""
    return {
        "type": "track",
        "event": event,
        "messageId": message,
        "anonymousId": "a1",
        "timestamp": time,
        # The clock of the device is an hour behind.
        "originalTimestamp": "2026-11-30T11:00:00Z",
        "context": {"device": {"type": "ios"}, "locale": "de-DE"},
        "properties": properties,
    }


GAM_IMPRESSION = (
    *("ImpressionId", "TimeUsec2", "EventTimeUsec2", "OrderId", "LineItemId", "CreativeId", "AdvertiserId"),
    *("AdUnitId", "EstimatedBackfillRevenue"),
)
TOUCH = ("Attributed Touch Type", "Attributed Touch Time", "Advertising ID", "Campaign ID", "Ad ID", "Cost Value")
CRITEO = ("timestamp", "uid", "campaign", "conversion", "click", "cost", "cat1", "cat2")
AVAZU = ("id", "click", "hour", "C1", "banner_pos", "site_id", "device_type", "device_conn_type", "C14")


def ipinyou(bidid: str, time: str, kind: int) -> list[object]:
    """A line of a log, of which the user's tags are null."""
    return [
        *(bidid, time, kind, "Vh16OwT6", "Mozilla/5.0", "180.127.189.*", 80, 87, 1, "tFKETuqy", "url", "null"),
        *("mm_11402872", 300, 250, "SecondView", "Fixed", 5, "12625", 277, 170, "null", 2259, "null"),
    ]


# By name: the files of both inputs, the outcomes of their impressions by id (the price, and whether it was clicked),
# and some fields of the first.
SAMPLES: dict[str, tuple[bytes, bytes, dict[str, tuple[int, bool]], dict[str, Any]]] = {
    "openrtb": (
        lines(
            bid("win", "2026-11-30T12:00:00.250Z", "r1"),
            bid("click", "2026-11-30T12:00:09Z", "r1"),
            bid("win", "2026-11-30T12:00:10Z", "r2"),
        ),
        b"",
        # 2.5 units for a thousand impressions, of which 2 are clicked.
        {"r1/1": (1_250_000, True), "r2/1": (1_250_000, False)},
        {"ts": 1_796_040_000_250, "campaign_id": "c7", "creative_id": "x9", "country": "DEU", "placement": "top"},
    ),
    "snowplow": (
        lines(
            snowplow(
                "ad_impression",
                "2026-11-30T12:00:00.250Z",
                impressionId="i1",
                campaignId="c",
                bannerId="b",
                cost=0.35,
                costModel="cpc",
            ),
            snowplow("ad_click", "2026-11-30T12:00:09.000Z", impressionId="i1", clickId="k1"),
            snowplow("ad_impression", "2026-11-30T12:00:10.000Z", impressionId="i2", zoneId="z"),
            # What a thousand views cost is not what a click costs.
            snowplow("ad_impression", "2026-11-30T12:00:10.500Z", impressionId="i3", cost=2.5, costModel="cpm"),
            {"event_id": "p", "event_name": "page_view", "collector_tstamp": "2026-11-30T12:00:11.000Z"},
        ),
        b"",
        {"i1": (350_000, True), "i2": (0, False)},
        {"ts": 1_796_040_000_250, "campaign_id": "c", "creative_id": "b", "country": "DE", "device": "Mobile"},
    ),
    "segment": (
        lines(
            track(
                "Ad Viewed",
                "m1",
                "2026-11-30T12:00:00.250Z",
                impression_id="i1",
                campaign_id=7,
                ad_id="a",
                price="0.35",
            ),
            track("Ad Clicked", "m2", "2026-11-30T12:00:09Z", impression_id="i1"),
            track("Ad Viewed", "m3", "2026-11-30T12:00:10Z", campaign_id=7),
            {"type": "page", "messageId": "m4"},
        ),
        b"",
        {"i1": (350_000, True), "m3": (0, False)},
        {"ts": 1_796_040_000_250, "campaign_id": "7", "creative_id": "a", "device": "ios", "user_id": "a1"},
    ),
    "google-ad-manager": (
        table(
            ",",
            GAM_IMPRESSION,
            ("Zx1", 1_796_040_000_000_000, 1_796_040_000_250_000, 7, 71, 9, 5, 3, "0.00025"),
            ("Zx2", 1_796_040_010_000_000, 1_796_040_010_000_000, 7, 71, 9, 5, "Null", ""),
        ),
        # Both clicks have the time of the one request.
        table(
            ",",
            ("ImpressionId", "TimeUsec2", "EventTimeUsec2", "LineItemId"),
            ("Zx1", 1_796_040_000_000_000, 1_796_040_009_000_000, 71),
            ("Zx1", 1_796_040_000_000_000, 1_796_040_012_000_000, 71),
        ),
        # .00025 units for an impression, of which .2 % are clicked.
        {"Zx1": (125_000, True), "Zx2": (0, False)},
        {"ts": 1_796_040_000_250, "campaign_id": "7", "creative_id": "9", "advertiser_id": "5", "placement": "3"},
    ),
    "appsflyer": (
        table(
            ",",
            TOUCH,
            ("impression", "2026-11-30 12:00:00.250", "g1", "c7", "x9", "0.3512"),
            ("click", "2026-11-30 12:00:09", "g1", "c7", "x9", ""),
            ("impression", "2026-11-30 12:00:10", "g2", "c7", "x9", ""),
        ),
        b"",
        {"g1/x9": (351_200, True), "g2/x9": (0, False)},
        {"ts": 1_796_040_000_250, "campaign_id": "c7", "creative_id": "x9", "user_id": "g1"},
    ),
    "criteo-attribution": (
        table(
            "\t",
            CRITEO,
            (0, 20073966, 22589171, 0, 1, "1e-05", 5824233, 9312274),
            (2, 24607497, 884761, 0, 0, "0.00012", 30763035, 9312274),
        ),
        b"",
        {"20073966/0/22589171": (10, True), "24607497/2/884761": (120, False)},
        {"ts": 1_483_228_800_000, "campaign_id": "22589171", "features": {"cat1": "5824233", "cat2": "9312274"}},
    ),
    "ipinyou": (
        table("\t", ipinyou("b1", "20130606000104008", 1), ipinyou("b2", "20130606000105000", 1)),
        table("\t", ipinyou("b1", "20130606000110500", 2)),
        # 1.70 yuan for a thousand impressions, of which .8 are clicked.
        {"b1": (2_125_000, True), "b2": (2_125_000, False)},
        {"ts": 1_370_448_064_008, "campaign_id": "2259", "creative_id": "12625", "bid_micros": 2_770},
    ),
    "avazu": (
        table(
            ",",
            AVAZU,
            ("10000169349117863715", 0, 14102100, 1005, 0, "1fbe01fe", 1, 2, 15704),
            ("1000009418151094273", 1, 14102100, 1005, 1, "1fbe01fe", 1, 0, 15706),
        ),
        b"",
        {"10000169349117863715": (0, False), "1000009418151094273": (0, True)},
        {
            "ts": 1_413_849_600_000,
            "placement": "0",
            "device": "1",
            "features": {"C1": "1005", "site_id": "1fbe01fe", "device_conn_type": "2", "C14": "15704"},
        },
    ),
}


def test_every_ready_mapping_has_a_sample() -> None:
    assert sorted(SAMPLES) == ready_names()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_ready_mapping_makes_the_outcomes_of_a_sample(tmp_path: Path, name: str) -> None:
    impressions, clicks, expected, first = SAMPLES[name]
    paths = [tmp_path / "impressions", tmp_path / "clicks"]
    paths[0].write_bytes(impressions)
    paths[1].write_bytes(clicks or impressions)
    # One file with both inputs is given as both.
    given = ("--impressions", paths[0], "--clicks", paths[1] if clicks else paths[0])
    done = run_here(*given, "--map", name)
    assert done.code == 0, done.err.decode()
    decided = [outcome for outcome in map(orjson.loads, done.out.splitlines()) if outcome["kind"] != "repeat"]
    outcomes = {outcome["impression_id"]: outcome for outcome in decided}
    assert {name: (each["price_micros"], each["label"] == 1) for name, each in outcomes.items()} == expected
    found = outcomes[next(iter(expected))]
    assert {field: found[field] for field in first} == first
    counts = orjson.loads(done.err.splitlines()[-1])
    assert counts["impressions"]["rejected"] == counts["clicks"]["rejected"] == 0
    assert counts["mapping"]["name"] == name


@pytest.mark.parametrize("name", SAMPLES)
def test_a_ready_mapping_links_to_what_its_vendor_publishes(name: str) -> None:
    text = ready(name) or ""
    assert pages(name)
    assert all(line.startswith("#") for line in text.splitlines()[:3])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_ready_mapping_reads_only_fields_that_its_vendor_publishes(name: str) -> None:
    inputs = read_mapping(ready(name) or "", name).inputs
    read = {
        ".".join(step for step in path.steps if isinstance(step, str))
        for one in inputs.values()
        for path in Compiled(one).paths()
    }
    # The properties of a track call are the user's own.
    read = {path for path in read if not path.startswith("properties.")}
    assert read <= PUBLISHED[name]
    for one in inputs.values():
        for pattern in one.patterns:
            assert any(pattern.takes(field) for field in PUBLISHED[name]), pattern.text
        assert set(one.table.names) <= PUBLISHED[name]
