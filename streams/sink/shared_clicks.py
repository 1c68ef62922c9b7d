"""Counts clicks that were charged although another partition had charged one of the same id: for a gauge.

No worker of the join sees the click ids of two partitions. ClickHouse has them all, so the sink asks it.
"""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.clickhouse.queries import run_query
from schemas.errors import ClickfoldError
from streams.sink.settings import Progress
from streams.warehouse.client import Warehouse

# The query reads the billable clicks of a day, some millions, in about a second.
EVERY_S: Final = 600.0
_DAY: Final = timedelta(days=1)
# A number as large as this is a fault of the set-up, whatever its last digit.
_MOST: Final = 10_000


class SharedClicks:
    """While the block runs, asks every ten minutes and keeps the answer in `progress`; None where none came."""

    def __init__(self, warehouse: Warehouse, progress: Progress, *, every_s: float = EVERY_S) -> None:
        self._warehouse = warehouse
        self._progress = progress
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shared clicks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Not joined: a question under way may wait for ClickHouse, and the thread ends with it.
        self._over.set()

    def _work(self) -> None:
        while not self._over.wait(self._every_s):
            self._progress.shared_clicks = self._count()

    def _count(self) -> int | None:
        since = (datetime.now(UTC) - _DAY).strftime("%Y-%m-%d %H:%M:%S")
        try:
            with closing(self._warehouse.connect()) as client:
                return len(run_query(client, "shared_click_ids", {"since": since, "rows": str(_MOST)}).rows)
        except (ClickHouseError, ClickfoldError):
            # The insert that fails for the same reason says so.
            return None
