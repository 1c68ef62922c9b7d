"""What Arrow makes of columns of clickfold's own form is what reading each value makes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from schemas.errors import SettingsError
from streams.inputs import files
from streams.inputs.files import FileLog
from streams.inputs.own_columns import own_events
from tests.factories import T0

ROWS = 300


def array(values: list[Any], kind: str) -> Any:
    """A column of Arrow; its package is loaded by the tests alone that need it."""
    import pyarrow as pa

    return pa.array(values, pa.type_for_alias(kind))


def write(path: Path, held: dict[str, Any]) -> None:
    """A file of Parquet with these columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(held), path, row_group_size=100)


def columns(**changes: Any) -> dict[str, Any]:
    """Columns of impressions: ids, words that repeat, numbers, and places without a value."""
    return {
        "impression_id": [f"i{number}" for number in range(ROWS)],
        "ts": [T0 + number for number in range(ROWS)],
        "campaign_id": ["shoes"] * ROWS,
        "creative_id": [f"x{number % 3}" for number in range(ROWS)],
        "price_micros": [1_000 * number for number in range(ROWS)],
        "country": [["DE", None, "Österreich"][number % 3] for number in range(ROWS)],
        "user_id": array([None] * ROWS, "null"),
        "bid_micros": [number if number % 2 else None for number in range(ROWS)],
        "pctr": [number / ROWS for number in range(ROWS)],
    } | changes


def first(value: Any, *, name: str) -> dict[str, Any]:
    """The columns with another value in the first row of one."""
    return {name: [value, *columns()[name][1:]]}


FEATURES = [
    None if number % 5 == 0 else {"os": None if number % 7 == 0 else "ios", "n": number / 4, "on": number % 2 == 0}
    for number in range(ROWS)
]
# By name: the columns, and whether Arrow can make the events without a look at single values.
CASES: dict[str, tuple[Callable[[], dict[str, Any]], bool]] = {
    "plain": (lambda: columns(), True),
    "features": (lambda: columns(features=FEATURES), True),
    "features without any": (lambda: columns(features=[{"os": None}] * ROWS), True),
    "moments": (lambda: columns(ts=array([T0 + n for n in range(ROWS)], "timestamp[ms]")), True),
    "moments in ns": (lambda: columns(ts=array([(T0 + n) * 10**6 + 5 for n in range(ROWS)], "timestamp[ns]")), True),
    "large texts": (lambda: columns(impression_id=array(columns()["impression_id"], "large_string")), True),
    "other columns": (lambda: columns(more=[[1]] * ROWS), True),
    "a quote": (lambda: columns(**first('i"0', name="impression_id")), False),
    "a control character": (lambda: columns(**first("i\n0", name="impression_id")), False),
    "an empty id": (lambda: columns(**first("", name="impression_id")), False),
    "a long id": (lambda: columns(**first("i" * 257, name="impression_id")), False),
    "no id": (lambda: columns(**first(None, name="impression_id")), False),
    "a time in seconds": (lambda: columns(**first(T0 // 1_000, name="ts")), False),
    "a price below 0": (lambda: columns(**first(-1, name="price_micros")), False),
    "a share above 1": (lambda: columns(**first(1.5, name="pctr")), False),
    "a feature that is a list": (lambda: columns(features=[{"tags": ["a"]}] * ROWS), False),
    "a feature that is not finite": (lambda: columns(features=[{"n": float("nan")}] * ROWS), False),
    "ids that are numbers": (lambda: columns(impression_id=list(range(ROWS))), False),
}


def read(path: Path, *, arrow: bool) -> tuple[list[Any], list[bool]]:
    """The records of a file with keys, why others were refused, and of which batches Arrow made the events."""
    made: list[bool] = []

    def watched(rows: Any, log: str) -> Any:
        found = own_events(rows, log) if arrow else None
        made.append(found is not None)
        return found

    with patch.object(files, "own_events", watched):
        log = FileLog([path], "impressions")
        records: list[Any] = [(each.offset, each.key, orjson.loads(each.value or b"")) for each in log.records()]
    return [*records, *log.unmapped.groups()], made


@pytest.mark.parametrize("case", CASES)
def test_arrow_makes_the_events_that_reading_each_value_makes(tmp_path: Path, case: str) -> None:
    path = tmp_path / "impressions.parquet"
    held, is_plain = CASES[case]
    write(path, held())
    events, made = read(path, arrow=True)
    assert made[0] is is_plain
    assert events == read(path, arrow=False)[0]
    assert len(events) == ROWS


def test_parquet_is_read_without_pandas(tmp_path: Path) -> None:
    path = tmp_path / "impressions.parquet"
    write(path, columns(features=FEATURES))
    code = (
        "import sys; from pathlib import Path; from streams.inputs.files import FileLog\n"
        f"assert sum(map(len, FileLog([Path({str(path)!r})], 'impressions').batches())) == {ROWS}\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["impression_id", "creative_id"])
def test_bytes_that_are_no_utf8_are_damage_and_not_passed_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / "impressions.parquet"
    held = columns(**{name: array([b"\xff" * 3] * ROWS, "binary").view("string")})
    write(path, held)
    with pytest.raises(SettingsError, match="is Parquet and damaged"):
        read(path, arrow=True)
