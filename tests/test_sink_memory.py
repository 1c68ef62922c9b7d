"""What the client of ClickHouse leaves behind is collected once a minute, however few rows there are."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.worker import workers


class Left(list["Left"]):
    """Holds itself, once it was appended."""


def test_sink_collects_cycles_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1_000.0]
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(workers, "collect_rarely", lambda: None)

    def insert_nothing(settings: object, stop: object, progress: object, beat: Any) -> None:
        cycle = Left()
        cycle.append(cycle)
        left = weakref.ref(cycle)
        del cycle
        now_s[0] += workers._COLLECT_EVERY_S
        beat()
        assert left() is not None
        now_s[0] += 0.1
        beat()
        assert left() is None

    monkeypatch.setattr("streams.sink.worker.run", insert_nothing)
    signals, log = SimpleNamespace(stop=None), SimpleNamespace(info=lambda *_, **__: None)
    worker = workers.SinkWorker(cast(Any, None))
    # Python must not collect by itself in between.
    gc.disable()
    try:
        worker.work(cast(Any, signals), cast(Any, log))
    finally:
        gc.enable()
