"""The catalogue of the workers' Prometheus metrics, and their samples, read from a worker when Prometheus asks.

`CATALOGUE` declares each metric once; samples and `docs/reference/metrics.md` are made from it. A new metric is a row
there, a `sample(...)` in the function of its worker, and `make reference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from online_models.release import HELD
from streams.engine.pace import RunnerProgress
from streams.engine.ports import SharedProgress
from streams.engine.runner import Runner
from streams.join.fold import JoinFold
from streams.learn.fold import LearnFold
from streams.sink.settings import Progress

if TYPE_CHECKING:
    from streams.pacing.view import Summary
    from streams.serve.progress import Serving

PREFIX: Final = "clickfold_"
Kind = Literal["counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric: the workers that serve it, its name behind `PREFIX`, the unit of a sample, help text and labels.

    Without a unit it is a state, 0 or 1, or a share. `LABELS` says what labels mean.
    """

    kind: Kind
    workers: str
    name: str
    unit: str
    help: str
    labels: tuple[str, ...]

    @property
    def exposed(self) -> str:
        """The name Prometheus stores; that of a counter ends with `_total`."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _counter(workers: str, name: str, unit: str, text: str, *labels: str) -> Declared:
    return Declared("counter", workers, name, unit, text, labels)


def _gauge(workers: str, name: str, unit: str, text: str, *labels: str) -> Declared:
    return Declared("gauge", workers, name, unit, text, labels)


# What becomes of a record of a source, as `IngestFold` counts it.
_FATES: Final = ("impressions", "clicks", "others", "rejected")
_BOTH: Final = "join, learn"
_RUNNERS: Final = "ingest, join, learn"
_ALL: Final = "ingest, join, learn, pace, sink, serve"
CATALOGUE: Final = {
    row.name: row
    for row in (
        _counter(_RUNNERS, "records", "records", "Records folded while live."),
        _counter(_RUNNERS, "replayed_records", "records", "Records folded during recovery, without outputs."),
        _counter(_RUNNERS, "outputs", "records", "Records written."),
        _counter(_RUNNERS, "commits", "transactions", "Transactions committed."),
        _counter(_RUNNERS, "checkpoints", "checkpoints", "Checkpoints made durable."),
        _counter(_ALL, "recoveries", "recoveries", "Times work began again from the last commit."),
        _gauge(_RUNNERS, "commit_seconds", "seconds", "How long the last transaction took."),
        _gauge(_RUNNERS, "state_bytes", "bytes", "Memory of open impressions, totals and clicks."),
        _gauge(_RUNNERS, "state_budget_bytes", "bytes", "Most memory they may take; 0: no bound."),
        _gauge(_RUNNERS, "tasks_live", "partitions", "Partitions being worked on."),
        _gauge(
            _RUNNERS, "intake_paused", "", "1 while an input that is ahead waits for the other.", "log", "partition"
        ),
        _gauge(_RUNNERS, "lag_records", "records", "Records not yet folded.", "log", "partition"),
        _gauge(_BOTH, "shared_snapshot_seconds", "Unix seconds", "When one was last shared; 0: not yet.", "partition"),
        _counter(_BOTH, "shared_snapshots", "snapshots", "Snapshots shared.", "partition"),
        _counter(_BOTH, "shared_bytes", "bytes", "Bytes written to the shared location.", "partition"),
        _counter(_BOTH, "shared_skipped", "snapshots", "Snapshots left out while one was being written.", "partition"),
        _counter(_BOTH, "shared_failures", "failures", "Times the shared location failed.", "partition"),
        _counter(_BOTH, "shared_fetched", "recoveries", "Recoveries from a shared snapshot.", "partition"),
        _counter("ingest", "ingest_records", "records", "Records by what became of them.", "fate", "source"),
        _gauge("ingest", "ingest_waiting", "", "1 while records wait for the schema registry."),
        _gauge("join", "open_impressions", "impressions", "Impressions that may still be clicked.", "partition"),
        _gauge("join", "pending_clicks", "clicks", "Clicks whose impression may still come.", "partition"),
        _counter("join", "misplaced_orphans", "clicks", "Orphans whose impression has another partition.", "partition"),
        _counter("join", "features_left_out", "features", "Features that no model can use.", "partition"),
        _counter("join", "bad_seals", "records", "Records of ads.seals that are no seals.", "partition"),
        _gauge("join", "held_records", "records", "Far ahead of their log, unconfirmed.", "log", "partition"),
        _counter("join", "ledger", "records", "Input records by fate.", "log", "fate", "partition"),
        _counter("join", "decisions", "decisions", "What was decided.", "decision", "partition"),
        _gauge("join", "watermark_seconds", "Unix seconds", "Event time; a record below is late.", "log", "partition"),
        _gauge("learn", "outcomes", "outcomes", "Outcomes by fate.", "fate", "shard"),
        _gauge("learn", "unlabelled_impressions", "impressions", "Shown, and without a label yet.", "shard"),
        _gauge("learn", "reversed_negatives", "impressions", "Learned as negatives, then clicked.", "shard"),
        _gauge(
            "learn", "model_held", "", "1 while a model's newest version is not published.", "model", "reason", "shard"
        ),
        _counter("learn", "model_versions", "versions", "Versions published since the start.", "model", "shard"),
        _gauge("learn", "model_ne", "", "Normalised entropy of the last closed window.", "model", "shard"),
        _gauge("learn", "model_log_loss", "nats", "Log loss of the last closed window.", "model", "shard"),
        _gauge("learn", "model_auc", "", "AUC of the last closed window.", "model", "shard"),
        _gauge("learn", "model_calibration", "", "Predicted over actual clicks in the last window.", "model", "shard"),
        _gauge("learn", "model_ece", "", "Expected calibration error of the last closed window.", "model", "shard"),
        _gauge("learn", "drift", "", "1 while predictions drift off.", "direction", "shard"),
        _gauge(
            "pace",
            "pacing_event_lag_seconds",
            "seconds",
            "Wall clock less event time of the newest total.",
        ),
        _counter("pace", "campaign_records", "records", "Records of ads.campaigns judged.", "fate"),
        _gauge("pace", "pacing_counted_lag_seconds", "seconds", "How far what is counted is behind; absent: unknown."),
        _gauge("pace", "pacing_campaigns", "campaigns", "Campaigns paced.", "state"),
        _gauge("pace", "pacing_next_offset", "offset", "Next offset of campaign_totals.", "partition"),
        _counter("pace", "pacing_passed_over", "records", "Records that changed no count.", "reason"),
        _gauge("pace", "pacing_admit", "", "Percentiles of the share of auctions to enter, 0 to 1.", "percentile"),
        _gauge("pace", "pacing_spend", "currency units", "Spent today by all campaigns, currencies added up."),
        _gauge("pace", "pacing_plan", "currency units", "Planned by now for all campaigns."),
        _gauge("pace", "pacing_rows_waiting", "rows", "Rows of state not yet in the changelog."),
        _gauge(
            "pace",
            "pacing_off_plan",
            "",
            "Spend less plan over budget, of the twenty campaigns furthest from their plans.",
            "campaign",
        ),
        _counter("sink", "sink_rows", "rows", "Rows acknowledged by ClickHouse.", "table"),
        _counter("sink", "sink_rejected", "records", "Records set aside as dead letters.", "reason"),
        _counter("sink", "sink_inserts", "inserts", "Inserts acknowledged."),
        _counter("sink", "sink_retries", "inserts", "Failed inserts that were tried again.", "error"),
        _counter("sink", "sink_waiting_seconds", "seconds", "Time in which ClickHouse took no rows, up to now."),
        _counter("sink", "sink_stage_seconds", "seconds", "Time spent, waiting included.", "stage"),
        _counter("sink", "sink_stage_cpu_seconds", "seconds", "CPU time of the stage's thread.", "stage"),
        _gauge("sink", "sink_rows_held", "records", "Records in memory."),
        _gauge("sink", "sink_held_bytes", "bytes", "Length of their values."),
        _gauge("sink", "sink_batch_age_seconds", "seconds", "How long the first of them is held; 0 when none is."),
        _gauge("sink", "sink_paused", "", "1 while reading waits for ClickHouse."),
        _gauge("sink", "sink_lag_records", "records", "Records not yet acknowledged; absent while unknown."),
        _gauge(
            "sink",
            "sink_shared_clicks",
            "clicks",
            "Charged in the last 24 hours although one of the same id had been; absent while unknown.",
        ),
        _gauge("sink", "sink_last_commit_seconds", "Unix seconds", "When offsets were last committed."),
        _counter("serve", "serve_requests", "requests", "Calls of /v1/predict answered.", "status"),
        _counter("serve", "serve_candidates", "candidates", "Candidates predicted."),
        _counter("serve", "serve_busy_seconds", "seconds", "Time in which answers were computed."),
        _gauge("serve", "serve_running", "calls", "Calls under way, those included whose body is awaited."),
        _gauge("serve", "serve_connections", "connections", "Open connections."),
        _gauge("serve", "serve_model_version", "version", "Version of the model that serves; absent before one."),
        _gauge("serve", "serve_model_event_seconds", "Unix seconds", "Event time up to which it has learned."),
        _counter("serve", "serve_swaps", "models", "Times another version began to serve."),
        _counter("serve", "serve_refused", "records", "Models and decisions not used; the former serve.", "topic"),
        _gauge("serve", "serve_campaigns", "campaigns", "Campaigns with a pacing decision."),
    )
}
# Counters that go on from the first record of the run, whoever works on a partition.
OF_RUN: Final = (PREFIX + "ledger", PREFIX + "decisions")
LABELS: Final = {
    "partition": "partition of the input",
    "log": "role of the input: impressions, clicks or outcomes; of `ingest` the topic of the source",
    "fate": "of `ledger`: accepted, late, duplicate or rejected; of `outcomes`: learned, waiting, shown, unlabelled, "
    "rejected or late; of `campaign_records`: accepted, unchanged or the reason of the refusal; of `ingest_records`: "
    "impressions, clicks, rejected, or others, which no condition of the mapping takes",
    "source": "topic of a source of `ingest`",
    "decision": "closed, unclicked, billable, repeat or orphan",
    "shard": "model shard: the partition of `ads.outcomes`",
    "model": "model; that of a challenger ends with a dot and its name",
    "direction": "more_clicks or fewer_clicks than predicted",
    "reason": "of `sink_rejected`: as in `ads.rejects`; of `pacing_passed_over`: undecodable, wrong_key, "
    "unknown_timezone, off_grid, expired or folded; of `model_held`: not_finite, weights, calibration or frozen",
    "campaign": "campaign id",
    "state": "state of the last decision, as in `ads.pacing`",
    "percentile": "10, 50 or 90, of the campaigns with a budget",
    "table": "ClickHouse table",
    "error": "ClickHouse's name of the error, or what failed before it could answer",
    "stage": "read, decode or insert",
    "status": "HTTP status of the answer",
    "topic": "role of the topic: models or pacing",
}


def sample(name: str, value: float, **labels: str) -> Metric:
    """One sample of a declared metric. Raises KeyError for another name or other labels than declared."""
    row = CATALOGUE[name]
    if labels.keys() != set(row.labels):
        raise KeyError(f"{name} has the labels {row.labels}, not {tuple(labels)}")
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(PREFIX + name, row.help, labels=row.labels)
    family.add_metric([labels[label] for label in row.labels], value)
    return family


def runner_metrics(progress: RunnerProgress, runner: Runner | None) -> Iterator[Metric]:
    """What all runners of the process have counted, then what each fold of the one that works now has to say."""
    yield sample("records", progress.records)
    yield sample("replayed_records", progress.replayed)
    yield sample("outputs", progress.outs)
    yield sample("commits", progress.commits)
    yield sample("checkpoints", progress.checkpoints)
    yield sample("recoveries", progress.recoveries)
    yield sample("commit_seconds", progress.commit_took_s)
    yield sample("tasks_live", len(runner.folds()) if runner is not None else 0)
    if runner is None:
        return
    yield sample("state_bytes", runner.backpressure.state_bytes)
    yield sample("state_budget_bytes", runner.backpressure.budget_bytes)
    for task, shared in runner.shared().items():
        yield from _shared_metrics(str(runner.layout.partition(task)), shared)
    for task, fold in runner.folds().items():
        partition, paused = str(runner.layout.partition(task)), runner.paused(task)
        for log in fold.positions():
            yield sample("intake_paused", float(log == paused), log=log, partition=partition)
        for log, records in runner.lag(task).items():
            yield sample("lag_records", records, log=log, partition=partition)
        if isinstance(fold, JoinFold):
            yield from _join_metrics(partition, fold)
        elif isinstance(fold, LearnFold):
            yield from _learn_metrics(partition, fold)


def _shared_metrics(partition: str, progress: SharedProgress) -> Iterator[Metric]:
    yield sample("shared_snapshot_seconds", progress.last_s, partition=partition)
    yield sample("shared_snapshots", progress.shared, partition=partition)
    yield sample("shared_bytes", progress.shared_bytes, partition=partition)
    yield sample("shared_skipped", progress.skipped, partition=partition)
    yield sample("shared_failures", progress.failures, partition=partition)
    yield sample("shared_fetched", progress.fetched, partition=partition)


def _join_metrics(partition: str, fold: JoinFold) -> Iterator[Metric]:
    ledger = fold.ledger()
    yield sample("open_impressions", ledger.open, partition=partition)
    yield sample("pending_clicks", ledger.pending, partition=partition)
    yield sample("misplaced_orphans", fold.misplaced, partition=partition)
    yield sample("features_left_out", fold.features_left_out, partition=partition)
    yield sample("bad_seals", fold.bad_seals, partition=partition)
    for name, log in (("impressions", ledger.impressions), ("clicks", ledger.clicks)):
        yield sample("held_records", log.held, log=name, partition=partition)
        for fate in ("accepted", "late", "duplicate", "rejected"):
            yield sample("ledger", getattr(log, fate), log=name, fate=fate, partition=partition)
    for decision in ("closed", "unclicked", "billable", "repeat", "orphan"):
        yield sample("decisions", getattr(ledger, decision), decision=decision, partition=partition)
    for name, watermark_ms in (
        ("impressions", ledger.impressions_watermark_ms),
        ("clicks", ledger.clicks_watermark_ms),
    ):
        yield sample("watermark_seconds", watermark_ms / 1e3, log=name, partition=partition)


def _learn_metrics(partition: str, fold: LearnFold) -> Iterator[Metric]:
    counts = fold.counts
    for fate in ("learned", "waiting", "shown", "unlabelled", "rejected", "late"):
        yield sample("outcomes", getattr(counts, fate), fate=fate, shard=partition)
    yield sample("unlabelled_impressions", fold.open, shard=partition)
    yield sample("reversed_negatives", counts.reversed, shard=partition)
    for model, window in fold.measuring.last.items():
        for figure in ("ne", "log_loss", "auc", "calibration", "ece"):
            value = getattr(window, figure)
            if value is not None:
                yield sample(f"model_{figure}", value, model=model, shard=partition)
    for model, versions in fold.offers.published(fold.lineup.entrants).items():
        yield sample("model_versions", versions, model=model, shard=partition)
    for model, held in fold.offers.held(fold.lineup.entrants).items():
        for reason in HELD:
            yield sample("model_held", float(held == reason), model=model, reason=reason, shard=partition)
    for direction in ("more_clicks", "fewer_clicks"):
        drifting = float(fold.measuring.drift.direction == direction)
        yield sample("drift", drifting, direction=direction, shard=partition)


def ingest_metrics(counts: Mapping[str, Mapping[str, int]], *, waiting: bool) -> Iterator[Metric]:
    """What became of the records of each source, and whether records wait for a schema registry."""
    yield sample("ingest_waiting", float(waiting))
    for source, fates in dict(counts).items():
        for fate in _FATES:
            yield sample("ingest_records", fates.get(fate, 0), fate=fate, source=source)


def pace_metrics(recoveries: int, judged: Mapping[str, int], view: Summary | None) -> Iterator[Metric]:
    """What the gate has judged, and the last summary of the campaigns; only the former before there is one."""
    yield sample("recoveries", recoveries)
    for fate, records in sorted(dict(judged).items()):
        yield sample("campaign_records", records, fate=fate)
    if view is None:
        return
    if view.event_lag_ms is not None:
        yield sample("pacing_event_lag_seconds", view.event_lag_ms / 1e3)
    if view.counted_behind_ms is not None:
        yield sample("pacing_counted_lag_seconds", view.counted_behind_ms / 1e3)
    for state, campaigns in view.states.items():
        yield sample("pacing_campaigns", campaigns, state=state)
    for partition, offset in view.next_offsets.items():
        yield sample("pacing_next_offset", offset, partition=partition)
    for reason, records in view.passed_over.items():
        yield sample("pacing_passed_over", records, reason=reason)
    for percentile, share in view.admit.items():
        yield sample("pacing_admit", share, percentile=percentile)
    yield sample("pacing_spend", view.spend_micros / 1e6)
    yield sample("pacing_plan", view.plan_micros / 1e6)
    yield sample("pacing_rows_waiting", view.rows_waiting)
    for campaign, away in view.furthest:
        yield sample("pacing_off_plan", away, campaign=campaign)


def sink_metrics(progress: Progress) -> Iterator[Metric]:
    """What ClickHouse acknowledged and what it did not take, what is held, and where time went."""
    for table, rows in dict(progress.rows_written).items():
        yield sample("sink_rows", rows, table=table)
    for reason, records in dict(progress.rejected).items():
        yield sample("sink_rejected", records, reason=reason)
    yield sample("recoveries", progress.recoveries)
    yield sample("sink_inserts", progress.inserts)
    for error, inserts in dict(progress.retried).items():
        yield sample("sink_retries", inserts, error=error)
    yield sample("sink_waiting_seconds", progress.waited_s)
    for stage, seconds in dict(progress.stage_s).items():
        yield sample("sink_stage_seconds", seconds, stage=stage)
    for stage, seconds in dict(progress.stage_cpu_s).items():
        yield sample("sink_stage_cpu_seconds", seconds, stage=stage)
    yield sample("sink_rows_held", progress.rows_held)
    yield sample("sink_held_bytes", progress.bytes_held)
    yield sample("sink_batch_age_seconds", progress.held_s)
    yield sample("sink_paused", float(progress.paused))
    if progress.lag >= 0:
        yield sample("sink_lag_records", progress.lag)
    if progress.shared_clicks is not None:
        yield sample("sink_shared_clicks", progress.shared_clicks)
    yield sample("sink_last_commit_seconds", progress.last_commit_ms / 1e3)


def serve_metrics(serving: Serving) -> Iterator[Metric]:
    """What was answered, what goes on now, and which model serves."""
    yield sample("recoveries", serving.recoveries)
    for status, requests in dict(serving.requests).items():
        yield sample("serve_requests", requests, status=status)
    yield sample("serve_candidates", serving.candidates)
    yield sample("serve_busy_seconds", serving.busy_s)
    yield sample("serve_running", serving.running)
    yield sample("serve_connections", len(serving.connections))
    served = serving.models.served
    if served is not None:
        yield sample("serve_model_version", served.facts.version)
        yield sample("serve_model_event_seconds", served.facts.event_ms / 1e3)
    yield sample("serve_swaps", serving.swaps)
    for topic, records in dict(serving.refused).items():
        yield sample("serve_refused", records, topic=topic)
    yield sample("serve_campaigns", len(serving.decisions))
