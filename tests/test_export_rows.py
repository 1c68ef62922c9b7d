"""Rows of an export: those of the sink, examples as a learner reads them, hours in bounded memory, and which hours."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pyarrow
import pytest

from online_models.mixture.reading import Reader
from online_models.mixture.rows import Fields
from schemas.codec import encode
from schemas.errors import SettingsError
from schemas.events import Features
from schemas.outcomes import Outcome
from schemas.totals import HOUR_MS, MINUTE_MS, MinuteTotals
from streams.export.copying import span_of_live_work
from streams.export.final import FinalTime
from streams.export.from_log import rows_from
from streams.export.hours import Hours
from streams.export.moments import hour_ms
from streams.export.tables import EXPORTED, MINUTES, OUTCOMES, TRAINING
from tests.exports import T0_MS, clicked
from tests.factories import record_value, total
from tests.world import outcomes as outcomes_of_world

FEATURES: tuple[Features | None, ...] = (
    {"os": "ios", "wifi": True, "tag_a": False, "width": 320, "bid": 0.25},
    {"os": "true", "width": -3},
    None,
)
UNCLICKED = [
    Outcome("unclicked", f"u{number}", 1, weight=20.0, label=0, ts=T0_MS + number, campaign_id="k1", features=each)
    for number, each in enumerate(FEATURES)
]
CLICKED = [clicked(number, features=each, device="tv") for number, each in enumerate(FEATURES)]


def values_of(table: pyarrow.Table) -> list[dict[str, Any]]:
    return list(table.to_pylist())


def test_examples_are_what_a_learner_reads_from_the_outcomes_to_the_bit() -> None:
    shown = Outcome("shown", "s", 0, weight=20.0, ts=T0_MS, campaign_id="k1")
    repeat = Outcome("repeat", "u0", 0, click_id="c", click_ts=T0_MS, ts=T0_MS, campaign_id="k1")
    lines = list(map(encode, [shown, *UNCLICKED, repeat, *CLICKED]))
    table = rows_from(TRAINING, lines)
    assert table.num_rows == len(UNCLICKED) + len(CLICKED)
    again = [
        encode(
            Outcome(
                kind="click" if row["label"] else "unclicked",
                features=dict(row["categories"]) | dict(row["flags"]) | dict(row["numbers"]) or None,
                ts=int(row["ts"].timestamp() * 1000),
                **{
                    name: row[name]
                    for name in ("impression_id", "join_partition", "label", "weight", "delay_ms", "campaign_id")
                },
                **{name: row[name] for name in ("creative_id", "placement", "country", "device", "pctr")},
            )
        )
        for row in values_of(table)
    ]
    wanted, found = (Reader(Fields()).read(each, lambda *_: None) for each in (lines, again))
    for name in ("labels", "weights", "ts", "start"):
        assert np.array_equal(getattr(wanted.rows, name), getattr(found.rows, name)), name
    for start, end in zip(wanted.rows.start[:-1], wanted.rows.start[1:], strict=True):
        slots = [
            sorted(zip(rows.keys[start:end], rows.values[start:end], strict=True)) for rows in (wanted.rows, found.rows)
        ]
        assert slots[0] == slots[1]
    assert list(wanted.ids) == list(found.ids)


def test_examples_have_no_column_that_names_a_user() -> None:
    assert not {name for name in TRAINING.schema.names if "user" in name}
    assert "user_hash" in OUTCOMES.schema.names


def test_what_stands_for_nothing_in_clickhouse_is_null_in_a_file() -> None:
    rows = values_of(rows_from(OUTCOMES, list(map(encode, [UNCLICKED[0], clicked(1, user_id="u")]))))
    assert (rows[0]["click_time"], rows[0]["user_hash"]) == (None, None)
    assert rows[1]["click_time"].timestamp() * 1000 == clicked(1).click_ts
    assert len(rows[1]["user_hash"]) == 16


def test_shown_impressions_are_no_outcomes_in_files() -> None:
    assert rows_from(OUTCOMES, [encode(Outcome("shown", "s", 0, ts=T0_MS, campaign_id="k"))]).num_rows == 0


@pytest.mark.parametrize("small", [False, True])
def test_rows_in_any_order_come_back_by_the_hour_and_sorted_with_any_bound_of_memory(
    tmp_path: Path, small: bool
) -> None:
    outcomes = [clicked(number, hour=number % 4 - 1) for number in range(400)]
    Random(1).shuffle(outcomes)
    bounds = {"most_bytes": 3_000, "sorted_bytes": 4_000} if small else {}
    hours = Hours(OUTCOMES, tmp_path, **bounds)
    for at in range(0, 400, 25):
        hours.add(rows_from(OUTCOMES, list(map(encode, outcomes[at : at + 25]))), T0_MS, T0_MS + 3 * HOUR_MS)
    if small:
        assert list(tmp_path.iterdir())
    assert hours.starts_ms() == [T0_MS + hour * HOUR_MS for hour in range(3)]
    found = []
    for start_ms in hours.starts_ms():
        tables = list(hours.rows(start_ms))
        assert (len(tables) > 1) is small
        for table in tables:
            keys = list(zip(*(table.column(name).to_pylist() for name in OUTCOMES.order), strict=True))
            assert keys == sorted(keys)
            found += table.column("impression_id").to_pylist()
    assert sorted(found) == sorted(
        each.impression_id for each in outcomes if T0_MS <= (each.ts or 0) < T0_MS + 3 * HOUR_MS
    )
    assert list(tmp_path.iterdir()) == []


def test_last_final_version_of_each_total_is_exported(tmp_path: Path) -> None:
    records = [
        total(1, version=1, impressions=1),
        total(1, version=3, final=True, impressions=3),
        total(1, version=2, final=True, impressions=3, country="DE"),
        total(1, version=4, final=True, impressions=3),
        total(2, version=9, impressions=9),
    ]
    hours = Hours(MINUTES, tmp_path, most_bytes=1)
    for record in records:
        hours.add(rows_from(MINUTES, [record_value(record)]), T0_MS, T0_MS + HOUR_MS)
    (table,) = hours.rows(T0_MS)
    assert [(row["minute"].timestamp() * 1000, row["country"], row["impressions"]) for row in values_of(table)] == [
        (T0_MS + MINUTE_MS, "", 3),
        (T0_MS + MINUTE_MS, "DE", 3),
    ]
    assert table.schema == MINUTES.schema


def test_totals_that_differ_in_an_extra_dimension_only_are_all_exported(tmp_path: Path) -> None:
    def of_site(site: str, version: int, impressions: int) -> MinuteTotals:
        plain = total(1, version=version, final=True, impressions=impressions)
        return msgspec.structs.replace(plain, dimensions=[*plain.dimensions, [site]], extra_dimensions=["site"])

    hours = Hours(MINUTES, tmp_path, most_bytes=1)
    before = total(1, version=1, final=True, impressions=1)
    for record in (of_site("b", 2, 20), before, of_site("a", 2, 10), of_site("b", 3, 20), of_site("", 2, 1)):
        hours.add(rows_from(MINUTES, [record_value(record)]), T0_MS, T0_MS + HOUR_MS)
    (table,) = hours.rows(T0_MS)
    # One without a name is one from before the dimension.
    assert sorted(row["impressions"] for row in values_of(table)) == [1, 10, 20]
    assert table.schema == MINUTES.schema


def test_rows_of_the_world_fit_the_schema() -> None:
    lines = list(map(encode, outcomes_of_world()))
    for table in (OUTCOMES, TRAINING):
        rows = rows_from(table, lines)
        assert rows.schema == table.schema
        rows.validate(full=True)


def test_schemas_have_no_type_that_hive_does_not_know() -> None:
    for table in EXPORTED.values():
        for field in table.schema:
            assert not pyarrow.types.is_unsigned_integer(field.type)
            assert not pyarrow.types.is_dictionary(field.type)


NOW_MS = T0_MS + 100 * HOUR_MS


def test_hours_end_where_all_is_final_unless_an_end_is_given() -> None:
    final = FinalTime(T0_MS + 3 * HOUR_MS - 1, 2, {})
    assert span_of_live_work(OUTCOMES, final, T0_MS, None, now_ms=NOW_MS) == (T0_MS, T0_MS + 2 * HOUR_MS)
    just = final._replace(until_ms=T0_MS + 3 * HOUR_MS)
    assert span_of_live_work(OUTCOMES, just, T0_MS, T0_MS + 3 * HOUR_MS, now_ms=NOW_MS)[1] == T0_MS + 3 * HOUR_MS


def test_end_beyond_what_is_final_is_refused_with_the_time_until_which_it_is() -> None:
    final = FinalTime(T0_MS + 3 * HOUR_MS - 1, 2, {})
    with pytest.raises(SettingsError) as refused:
        span_of_live_work(OUTCOMES, final, T0_MS, T0_MS + 3 * HOUR_MS, now_ms=NOW_MS)
    assert str(refused.value) == (
        "--to 2023-11-15T01:00:00Z may still change: outcomes are final until 2023-11-15T00:59:59Z (join partition 2 "
        "is furthest behind); give an hour up to then, or leave --to out"
    )
    with pytest.raises(SettingsError, match="--from 2023-11-15T00:00:00Z begins an hour that may still change"):
        span_of_live_work(OUTCOMES, final, T0_MS + 2 * HOUR_MS, None, now_ms=NOW_MS)
    with pytest.raises(SettingsError, match="nothing is final yet"):
        span_of_live_work(OUTCOMES, final._replace(until_ms=-(10**15)), T0_MS, None, now_ms=NOW_MS)


def test_time_inside_an_hour_is_refused() -> None:
    assert hour_ms("--from", "2023-11-14T22Z") == T0_MS
    with pytest.raises(SettingsError, match="inside an hour"):
        hour_ms("--from", "2023-11-14T22:01Z")
