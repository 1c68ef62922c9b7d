"""A worker's numbers as Prometheus metrics, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric

from streams.engine.ports import SharedProgress
from streams.engine.runner import Runner
from streams.join.fold import JoinFold
from streams.learn.fold import LearnFold
from streams.sink.settings import Progress
from streams.worker.observe import counter, gauge


def runner_metrics(runner: Runner) -> Iterator[Metric]:
    """Rates and commits of a runner, then what each of its folds has to say."""
    progress = runner.progress
    yield counter("records", "Records folded while live.", progress.records)
    yield counter("replayed_records", "Records folded in silence during recovery.", progress.replayed)
    yield counter("outputs", "Records written.", progress.outs)
    yield counter("commits", "Transactions committed.", progress.commits)
    yield counter("checkpoints", "Checkpoints made durable.", progress.checkpoints)
    yield counter("recoveries", "Times work began again from the last commit.", progress.recoveries)
    yield gauge("commit_seconds", "How long the last transaction took.", progress.commit_took_s)
    yield gauge("state_bytes", "Memory of open impressions, totals and clicks.", runner.backpressure.state_bytes)
    yield gauge("state_budget_bytes", "What it may take; 0: no bound.", runner.backpressure.budget_bytes)
    yield gauge("tasks_live", "Partitions being worked on.", len(runner.folds()))
    for partition, shared in runner.shared().items():
        yield from _shared_metrics(str(partition), shared)
    for partition, fold in runner.folds().items():
        paused = runner.paused(partition)
        for log in fold.positions():
            waits = float(log == paused)
            text = "1 while an input waits for the other one, which is behind in event time."
            yield gauge("intake_paused", text, waits, log=log, partition=str(partition))
        for log, records in runner.lag(partition).items():
            yield gauge("lag_records", "Records not yet folded.", records, log=log, partition=str(partition))
        if isinstance(fold, JoinFold):
            yield from _join_metrics(str(partition), fold)
        elif isinstance(fold, LearnFold):
            yield from _learn_metrics(str(partition), fold)


def _shared_metrics(partition: str, progress: SharedProgress) -> Iterator[Metric]:
    at, text = progress.last_s, "When the last snapshot was shared; 0: not yet."
    yield gauge("shared_snapshot_seconds", text, at, partition=partition)
    for name, text, value in (
        ("shared_snapshots", "Snapshots shared.", progress.shared),
        ("shared_bytes", "Bytes written to the shared location.", progress.shared_bytes),
        ("shared_skipped", "Snapshots not shared as one was still on its way.", progress.skipped),
        ("shared_failures", "Times the shared location failed.", progress.failures),
        ("shared_fetched", "Times a partition went on from a shared snapshot.", progress.fetched),
    ):
        yield counter(name, text, value, partition=partition)


def _join_metrics(partition: str, fold: JoinFold) -> Iterator[Metric]:
    ledger = fold.ledger()
    yield gauge("open_impressions", "Impressions that may still be clicked.", ledger.open, partition=partition)
    yield gauge("pending_clicks", "Clicks whose impression may still come.", ledger.pending, partition=partition)
    misplaced = fold.misplaced
    yield counter("misplaced_orphans", "Orphans keyed for another partition.", misplaced, partition=partition)
    for name, log in (("impressions", ledger.impressions), ("clicks", ledger.clicks)):
        for fate in ("accepted", "late", "duplicate", "rejected"):
            value = getattr(log, fate)
            yield counter("ledger", "Input records by fate.", value, log=name, fate=fate, partition=partition)
    for decision in ("closed", "unclicked", "billable", "repeat", "orphan"):
        value = getattr(ledger, decision)
        yield counter("decisions", "What was decided.", value, decision=decision, partition=partition)
    for name, at_ms in (
        ("impressions", ledger.impressions_watermark_ms),
        ("clicks", ledger.clicks_watermark_ms),
    ):
        yield gauge("watermark_seconds", "Lateness bound, event time.", at_ms / 1e3, log=name, partition=partition)


def _learn_metrics(partition: str, fold: LearnFold) -> Iterator[Metric]:
    counts = fold.counts
    for fate in ("learned", "waiting", "unlabelled", "rejected", "late"):
        yield gauge("outcomes", "Outcomes by fate.", getattr(counts, fate), fate=fate, shard=partition)
    for direction in ("more_clicks", "fewer_clicks"):
        drifting = float(fold.drift.direction == direction)
        yield gauge("drift", "1 while predictions drift off.", drifting, direction=direction, shard=partition)


def pace_metrics(view: Mapping[str, Any]) -> Iterator[Metric]:
    """What `/pacing` of the pacing worker says, as gauges."""
    yield gauge("pacing_event_lag_seconds", "Wall clock less event time.", view["event_lag_ms"] / 1e3)
    yield gauge("pacing_campaigns", "Campaigns paced.", len(view["campaigns"]))
    for partition, offset in view["next_offsets"].items():
        yield gauge("pacing_next_offset", "Next offset of campaign_totals.", offset, partition=partition)
    for reason, records in view["passed_over"].items():
        yield counter("pacing_passed_over", "Records that counted nothing.", records, reason=reason)
    for campaign, decision in view["campaigns"].items():
        if decision is not None:
            spent, plan = decision["spend_micros"] / 1e6, decision["plan_micros"] / 1e6
            yield gauge("pacing_admit", "Share of auctions to enter.", decision["admit"], campaign=campaign)
            yield gauge("pacing_spend", "Spent today, currency units.", spent, campaign=campaign)
            yield gauge("pacing_plan", "Planned by now, currency units.", plan, campaign=campaign)


def sink_metrics(progress: Progress) -> Iterator[Metric]:
    """What ClickHouse acknowledged and what it did not take, what is held, and where time went."""
    for table, rows in dict(progress.rows_written).items():
        yield counter("sink_rows", "Rows acknowledged by ClickHouse.", rows, table=table)
    for reason, records in dict(progress.rejected).items():
        yield counter("sink_rejected", "Records set aside as dead letters.", records, reason=reason)
    yield counter("sink_inserts", "Inserts acknowledged.", progress.inserts)
    for error, inserts in dict(progress.retried).items():
        yield counter("sink_retries", "Failed inserts that were tried again.", inserts, error=error)
    yield counter("sink_waiting_seconds", "Time in which ClickHouse took no rows, up to now.", progress.waited_s)
    for stage, seconds in dict(progress.stage_s).items():
        yield counter("sink_stage_seconds", "Time spent, waiting included.", seconds, stage=stage)
    for stage, seconds in dict(progress.stage_cpu_s).items():
        yield counter("sink_stage_cpu_seconds", "CPU of the stage's thread.", seconds, stage=stage)
    yield gauge("sink_rows_held", "Records in memory.", progress.rows_held)
    yield gauge("sink_held_bytes", "Length of their values.", progress.bytes_held)
    yield gauge("sink_batch_age_seconds", "How long the first of them is held; 0 when none is.", progress.held_s)
    yield gauge("sink_paused", "1 while reading waits for ClickHouse.", float(progress.paused))
    yield gauge("sink_lag_records", "Records not yet acknowledged; -1 unknown.", progress.lag)
    yield gauge("sink_last_commit_seconds", "When offsets were last committed.", progress.last_commit_ms / 1e3)
