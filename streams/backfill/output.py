"""Writes outputs into ClickHouse as rows of a run, with the same shapes and writer as the sink."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from schemas.errors import BrokenInvariant
from schemas.records import Out
from streams.warehouse.client import Warehouse
from streams.warehouse.rows import rows_of
from streams.warehouse.writer import Writer, insert_settings

# As large as a batch of the sink.
_FULL_RECORDS: Final = 50_000
_FULL_BYTES: Final = 16 << 20


class RunWriter:
    """Writes outputs as rows of one run. For one thread. Once `give_up` is set, it does not wait for ClickHouse."""

    def __init__(self, warehouse: Warehouse, run: str, give_up: threading.Event) -> None:
        self._run = run
        settings = insert_settings(clustered=bool(warehouse.cluster))
        self._writer = Writer(warehouse.open, give_up=give_up, settings=settings)

    def write(self, outs: Sequence[Out]) -> None:
        """Returns once all rows are acknowledged.

        Raises Transient, SettingsError, and BrokenInvariant for a record that cannot be a row: a run must not miss
        one.
        """
        by_role: dict[str, list[bytes | None]] = {}
        for out in outs:
            by_role.setdefault(out.topic, []).append(out.value)
        for role, values in by_role.items():
            for batch in _batches(values):
                rows, refused = rows_of(role, batch, run=self._run)
                refused += self._writer.write(rows)
                if refused:
                    raise BrokenInvariant(
                        f"{len(refused)} records of {role} cannot be rows of run {self._run}: {refused[0].detail}"
                    )

    def close(self) -> None:
        """Closes the connection."""
        self._writer.close()


def _batches(values: Sequence[bytes | None]) -> Iterator[Sequence[bytes | None]]:
    start, size = 0, 0
    for stop, value in enumerate(values, 1):
        size += len(value or b"")
        if stop - start >= _FULL_RECORDS or size >= _FULL_BYTES:
            yield values[start:stop]
            start, size = stop, 0
    if start < len(values):
        yield values[start:]
