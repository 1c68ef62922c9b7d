"""What `clickfold map guess` makes of logs of ad servers, exchanges and spreadsheets, and what that gives."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from schemas.moments import moment_ms
from tests.test_fold_command import run_here
from tests.test_map_command import last, written

BEGINS = datetime(2026, 10, 24, 23, 59, tzinfo=UTC)


def guessed(tmp_path: Path, *samples: Path, edit: Sequence[tuple[str, str]] = ()) -> tuple[str, list[Any], Any]:
    """The mapping, and the outcomes and counts that it gives."""
    mapping = tmp_path / "guessed.toml"
    assert run_here("guess", *samples, "-o", mapping, command="map").code == 0
    text = mapping.read_text()
    for before, after in edit:
        assert before in text
        mapping.write_text(mapping.read_text().replace(before, after))
    done = run_here("--impressions", samples[0], "--clicks", samples[-1], "--map", mapping, "--window", "10m")
    assert done.code == 0, text + done.err.decode()
    return text, [orjson.loads(line) for line in done.out.splitlines()], last(done)


def test_a_table_of_german_words_commas_and_local_times_is_guessed_through_the_end_of_summer_time(
    tmp_path: Path,
) -> None:
    berlin, path = ZoneInfo("Europe/Berlin"), tmp_path / "log.csv.gz"
    with gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file, delimiter=";", quoting=csv.QUOTE_ALL)
        rows.writerow(
            ["Zeit", "Ereignis", "Auslieferungs-ID", "Klick-ID", "Kampagne", "Werbemittel", "Klickpreis (EUR)"]
        )
        for number in range(40):
            at = BEGINS + timedelta(seconds=number)
            shown = f"{at.astimezone(berlin):%d.%m.%Y %H:%M:%S}"
            rows.writerow([shown, "Einblendung", f"a{number}", "", "Herbst;Aktion", "Bänner", f"1.000,{number:02d}"])
        rows.writerow(
            [
                f"{(BEGINS + timedelta(seconds=90)).astimezone(berlin):%d.%m.%Y %H:%M:%S}",
                "Klick",
                "a3",
                "K1",
                "",
                "",
                "",
            ]
        )
    zoned = ('pattern = "%d.%m.%Y %H:%M:%S" }', 'pattern = "%d.%m.%Y %H:%M:%S", zone = "Europe/Berlin" }')
    text, outcomes, counts = guessed(tmp_path, path, edit=[zoned])
    assert 'price_micros = { path = "Klickpreis (EUR)", unit = "units", decimal = "," }' in text
    assert 'Ereignis = "Einblendung"' in text
    click = next(each for each in outcomes if each["kind"] == "click")
    assert (click["click_id"], click["price_micros"], click["campaign_id"]) == ("K1", 1_000_030_000, "Herbst;Aktion")
    assert (click["ts"], click["delay_ms"]) == (moment_ms("2026-10-24T23:59:03Z"), 87_000)
    assert (counts["impressions"]["accepted"], counts["clicks"]["billable"]) == (40, 1)


def test_a_record_of_several_impressions_is_said_to_give_the_first_one(tmp_path: Path) -> None:
    records = [
        {
            "auction": f"a{number}",
            "at": moment_ms("2026-11-01T10:00:00Z") + number,
            "user": {"id": f"u{number % 3}"},
            "imp": [
                {"id": str(place), "bid": {"cid": "c", "crid": "x", "price": 1.5, "conversions": 0}}
                for place in range(1 + number % 3)
            ],
        }
        for number in range(9)
    ]
    clicks = [{"auction": "a1", "click": f"k{n}", "time": f"2026-11-01T10:00:0{n}Z"} for n in range(1, 3)]
    samples = written(tmp_path, "wins.jsonl", *records), written(tmp_path, "clicks.jsonl", *clicks)
    text, _, counts = guessed(tmp_path, *samples)
    assert "# GUESS: up to 3 in imp, and a record gives one event: that of the first." in text
    assert 'click_id = "click"' in text
    # A person, and no input of a model; nor is what is known only later.
    assert 'user_id = { path = "user.id", optional = true }' in text
    features = text.partition("features]")[2].partition("[clicks]")[0]
    assert "user" not in features
    assert "# imp[0].bid.conversions is left out: it may be known only after the impression" in features
    assert (counts["impressions"]["accepted"], counts["clicks"]["repeat"]) == (9, 1)


def test_typed_columns_of_decimals_local_moments_and_long_numbers_are_guessed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    zone = pa.timestamp("us", tz="America/New_York")
    at = [BEGINS + timedelta(microseconds=1_234_567 * number) for number in range(30)]
    keys = [9_007_199_254_740_993 + number for number in range(30)]
    paths = tmp_path / "shown.parquet", tmp_path / "clicked.parquet"
    shown = {
        "EventTime": pa.array(at, zone),
        "AuctionKey": pa.array(keys, pa.int64()),
        "Campaign": pa.array([f"camp{number % 4}" for number in range(30)]).dictionary_encode(),
        "Ad": [{"CreativeId": number % 7, "Size": [300, 250]} for number in range(30)],
        "BidCpc": pa.array([Decimal("0.350001")] * 30, pa.decimal128(12, 6)),
        "UserHash": pa.array([bytes([number]) * 16 for number in range(30)], pa.binary(16)),
    }
    pq.write_table(pa.table(shown), paths[0])
    clicked = {"ClickTime": pa.array([at[5]], zone), "AuctionKey": [keys[5]], "ClickSeq": pa.array([5], pa.uint64())}
    pq.write_table(pa.table(clicked), paths[1])
    text, outcomes, _ = guessed(tmp_path, *paths)
    assert 'price_micros = { path = "BidCpc", unit = "units" }' in text
    click = next(each for each in outcomes if each["kind"] == "click")
    assert (click["impression_id"], click["click_id"]) == ("9007199254740998", "5")
    assert (click["creative_id"], click["price_micros"], click["delay_ms"]) == ("5", 350_001, 0)


def test_a_spreadsheet_in_utf16_with_twelve_hours_and_dollars_is_guessed(tmp_path: Path) -> None:
    shown, clicked = tmp_path / "shown.tsv", tmp_path / "clicked.tsv"
    rows = [f"11/01/2026 {number % 12 + 1:02d}:00:05 PM\tI{number}\tLine\tB\t$0.2{number}" for number in range(3)]
    names = "Date/Time\tImpression ID\tLine Item\tCreative Name\tCost (USD)"
    shown.write_bytes("\r\n".join([names, *rows]).encode("utf-16"))
    clicked.write_bytes("Date/Time\tClick ID\tImpression ID\r\n11/01/2026 02:00:07 PM\tC1\tI1\r\n".encode("utf-16"))
    text, outcomes, _ = guessed(tmp_path, shown, clicked)
    assert "GUESS: the month first, and each fits with the day first too" in text
    click = next(each for each in outcomes if each["kind"] == "click")
    assert (click["ts"], click["price_micros"]) == (moment_ms("2026-11-01T14:00:05Z"), 210_000)
