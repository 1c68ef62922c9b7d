"""What tests of exports share: made-up outcomes, an export of them, and what readers of Parquet see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow.dataset

from schemas.codec import encode
from schemas.outcomes import Outcome
from schemas.totals import HOUR_MS
from streams.export.folder import ExportFolder
from streams.export.from_log import rows_from
from streams.export.hours import Hours
from streams.export.manifest import Manifest
from streams.export.tables import OUTCOMES, Exported
from streams.export.writing import ExportWriter, Request

# 2023-11-14 22:00 UTC.
T0_MS: Final = 1_699_999_200_000


def clicked(number: int, *, hour: int = 0, price_micros: int = 1, **more: Any) -> Outcome:
    """The billable click on an impression of the hour-th hour."""
    given: dict[str, Any] = {"campaign_id": f"k{number % 3}", "creative_id": "x", **more}
    ts = T0_MS + hour * HOUR_MS + (7 * number) % 3_600 * 1_000
    return Outcome(
        kind="click",
        impression_id=f"i{number:06}",
        join_partition=number % 2,
        label=1,
        click_id=f"c{number:06}",
        click_ts=ts + 500,
        delay_ms=500,
        ts=ts,
        price_micros=price_micros,
        **given,
    )


def export(
    url: str,
    outcomes: Sequence[Outcome],
    folder: Path,
    *,
    hours: range,
    table: Exported = OUTCOMES,
    files: ExportFolder | None = None,
) -> Manifest:
    """Exports these outcomes as the given hours. `folder` is for files that are not needed later."""
    from_ms, to_ms = T0_MS + hours.start * HOUR_MS, T0_MS + hours.stop * HOUR_MS
    request = Request(table, from_ms, to_ms, "log", "active", to_ms)
    writer = ExportWriter(files or ExportFolder(url, table.name), request, now_ms=T0_MS + 24 * HOUR_MS)
    kept = Hours(table, folder)
    kept.add(rows_from(table, list(map(encode, outcomes))), from_ms, to_ms)
    for hour_ms in kept.starts_ms():
        writer.write(hour_ms, kept.rows(hour_ms), apart=True)
    return writer.commit()


def seen(folder: Path) -> Mapping[str, list[tuple[Any, ...]]]:
    """Impression, price, date and hour of each row, as each reader lists them from the folder, sorted."""
    import duckdb  # when it is asked: collecting unit tests must not wait for it
    import polars

    pattern = f"{folder}/**/*.parquet"
    if not list(folder.glob("date=*/**/*.parquet")):
        return {"pyarrow": [], "DuckDB": [], "Polars": []}
    arrow = pyarrow.dataset.dataset(folder, format="parquet", partitioning="hive").to_table().to_pylist()
    names = ("impression_id", "price_micros", "date", "hour")
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT {', '.join(names)} FROM read_parquet('{pattern}', hive_partitioning = true)"
        ).fetchall()
    frame = polars.scan_parquet(pattern, hive_partitioning=True).select(names).collect()
    return {
        "pyarrow": _rows([row[name] for name in names] for row in arrow),
        "DuckDB": _rows(found),
        "Polars": _rows(frame.rows()),
    }


def _rows(rows: Any) -> list[tuple[Any, ...]]:
    """Readers differ in whether a folder's name is text, a number or a date."""
    return sorted((name, price, str(date), int(hour)) for name, price, date, hour in rows)


def expected(*outcomes: Outcome) -> list[tuple[Any, ...]]:
    """What every reader must see of these outcomes."""
    return sorted(
        (
            each.impression_id,
            each.price_micros,
            f"{datetime.fromtimestamp((each.ts or 0) / 1000, UTC):%Y-%m-%d}",
            (each.ts or 0) // HOUR_MS % 24,
        )
        for each in outcomes
    )
