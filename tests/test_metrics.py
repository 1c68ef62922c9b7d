"""The catalogue of metrics: what a worker serves is what the catalogue declares, all of it."""

from __future__ import annotations

import re
from collections import Counter
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from online_models.settings import LearnerSettings
from schemas.bounds import JoinBounds
from schemas.models import ModelMetrics
from streams.engine.layout import BY_PARTITION, Independent
from streams.engine.pace import RunnerProgress
from streams.engine.ports import SharedProgress
from streams.engine.runner import Runner
from streams.ingest.fold import IngestFold
from streams.ingest.source import Source
from streams.ingest.values import Values
from streams.join.fold import JoinFold
from streams.learn.fold import LearnFold
from streams.pacing.view import Summary
from streams.serve.models import Models
from streams.serve.progress import Serving
from streams.sink.settings import Progress as SinkProgress
from streams.worker.metrics import (
    CATALOGUE,
    LABELS,
    ingest_metrics,
    pace_metrics,
    runner_metrics,
    sample,
    serve_metrics,
    sink_metrics,
)
from streams.worker.observe import Collected
from tests.models.published import learned, records_of
from tests.simulation.disk import SimulatedDisk

SUMMARY = Summary(
    next_offsets={"0": 7},
    event_lag_ms=1_500,
    counted_behind_ms=2_500,
    passed_over={"expired": 1},
    states={"on_plan": 2, "blind": 0},
    admit={"50": 0.25},
    spend_micros=2_000_000,
    plan_micros=3_000_000,
    rows_waiting=3,
    furthest=[("k1", -0.5)],
)


def runner() -> Runner:
    """As much of a runner as its metrics ask: a join of partition 0 and a learner of partition 1."""
    learner = LearnFold(LearnerSettings(), shard=1)
    folds = {
        0: JoinFold(JoinBounds(), SimulatedDisk(), partition=0),
        1: learner,
    }
    figures = (21, 32.0, 10.0, 8.5, 0.52, 0.61, 0.85, 0.9, 0.8, 0.9, 0.01)
    learner.measuring.last["ctr"] = ModelMetrics("ctr", 1, 5, 0, 1, "all", *figures)
    asked = SimpleNamespace(
        backpressure=SimpleNamespace(state_bytes=0, budget_bytes=0),
        folds=lambda: folds,
        shared=lambda: {0: SharedProgress()},
        paused=lambda partition: "clicks" if partition == 0 else None,
        lag=lambda partition: {"impressions": 4},
        layout=BY_PARTITION,
    )
    return cast("Runner", asked)


def ingesting() -> Runner:
    """The same of an ingest of partition 2 of a second source."""
    layout = Independent({"a": "a", "shop.events": "shop.events"})
    source = Source("shop.events", {}, Values(()), name="", digest="")
    folds = {layout.task("shop.events", 2): IngestFold(source, partition=2)}
    asked = SimpleNamespace(
        backpressure=SimpleNamespace(state_bytes=0, budget_bytes=0),
        folds=lambda: folds,
        shared=dict,
        paused=lambda task: None,
        lag=lambda task: {"shop.events": 5},
        layout=layout,
    )
    return cast("Runner", asked)


def served() -> dict[str, list[Metric]]:
    """Every sample, by worker."""
    progress = SinkProgress(
        rows_written={"minute_totals": 1}, rejected={"late": 1}, stage_s={"read": 1.0}, stage_cpu_s={"read": 1.0},
        retried={"connection": 1}, lag=0, shared_clicks=0,
    )  # fmt: skip
    return {
        "ingest": [
            *runner_metrics(RunnerProgress(), ingesting()),
            *ingest_metrics({"shop.events": Counter(clicks=3)}, waiting=False),
        ],
        "join, learn": list(runner_metrics(RunnerProgress(), runner())),
        "pace": list(pace_metrics(0, {"accepted": 1}, SUMMARY)),
        "sink": list(sink_metrics(progress)),
        "serve": list(serve_metrics(serving())),
    }


def serving() -> Serving:
    """What a server has done that has a model."""
    models = Models("ctr", 0)
    for _, key, value, _ in records_of(learned(0), 3):
        models.take(key, value)
    models.update()
    return Serving(models, requests=Counter({"200": 1}), refused=Counter({"models": 1}))


def test_workers_serve_every_declared_metric_under_its_name_with_its_type() -> None:
    found = {
        (sample.name, metric.type, metric.documentation)
        for metrics in served().values()
        for metric in metrics
        for sample in metric.samples
    }
    assert found == {(row.exposed, row.kind, row.help) for row in CATALOGUE.values()}


@pytest.mark.parametrize("worker", ["ingest", "join, learn", "pace", "sink", "serve"])
def test_a_metric_is_declared_for_the_workers_that_serve_it(worker: str) -> None:
    declared = {row.exposed for row in CATALOGUE.values() if set(row.workers.split(", ")) & set(worker.split(", "))}
    assert {sample.name for metric in served()[worker] for sample in metric.samples} == declared


def test_names_labels_and_values_are_those_dashboards_use() -> None:
    samples = [sample for metrics in served().values() for metric in metrics for sample in metric.samples]
    found = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
    assert found["clickfold_lag_records", (("log", "impressions"), ("partition", "0"))] == 4
    assert found["clickfold_lag_records", (("log", "shop.events"), ("partition", "2"))] == 5
    assert found["clickfold_ingest_records_total", (("fate", "clicks"), ("source", "shop.events"))] == 3
    assert found["clickfold_intake_paused", (("log", "clicks"), ("partition", "0"))] == 1
    assert found["clickfold_intake_paused", (("log", "impressions"), ("partition", "0"))] == 0
    assert found["clickfold_ledger_total", (("fate", "late"), ("log", "clicks"), ("partition", "0"))] == 0
    assert found["clickfold_outcomes", (("fate", "learned"), ("shard", "1"))] == 0
    assert found["clickfold_pacing_spend", ()] == 2.0
    assert found["clickfold_pacing_campaigns", (("state", "on_plan"),)] == 2
    assert found["clickfold_pacing_counted_lag_seconds", ()] == 2.5
    assert found["clickfold_pacing_off_plan", (("campaign", "k1"),)] == -0.5


def test_a_sample_that_is_not_declared_so_is_refused() -> None:
    with pytest.raises(KeyError, match="unheard_of"):
        sample("unheard_of", 1.0)
    with pytest.raises(KeyError, match="lag_records has the labels"):
        sample("lag_records", 1.0, log="clicks")


def test_labels_are_explained_and_names_end_with_their_unit() -> None:
    assert {label for row in CATALOGUE.values() for label in row.labels} == LABELS.keys()
    for suffix, unit in (("_seconds", "seconds"), ("_bytes", "bytes")):
        assert all(unit in row.unit for row in CATALOGUE.values() if row.name.endswith(suffix))


# As promtool has them; its check found nothing in the pages of the five workers on 2026-11-30.
ABBREVIATED = {"s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d", "min"}
NOT_BASE = {"milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "bits", "kilobytes", "percent"}
TYPES = {"counter", "gauge", "histogram", "summary", "untyped", "metric"}
RESERVED = ("_bucket", "_count", "_sum", "_created", "_info")


@pytest.mark.parametrize("worker", ["join, learn", "pace", "sink", "serve"])
def test_the_page_of_every_worker_keeps_the_rules_of_prometheus(worker: str) -> None:
    registry = CollectorRegistry()
    registry.register(Collected(lambda: iter(served()[worker])))
    text = generate_latest(registry).decode()
    # A second family of a name would be two of these lines.
    declared = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    assert len(declared) == len({name for name, _ in declared}) > 3
    for name, kind in declared:
        words = set(name.split("_"))
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(RESERVED), name
        assert not words & (ABBREVIATED | NOT_BASE | TYPES), name
        assert name == name.lower(), name
        assert re.search(rf"^# HELP {name} \S", text, re.MULTILINE), name
    assert not re.search(r'[{,](le|quantile)="', text)
    # Each sample is of a family, and stands once.
    samples = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples))
    assert {sample.partition("{")[0] for sample in samples} == {name for name, _ in declared}
