"""`clickfold bench latency`: from a click that is due to what each worker makes of it, at shares of the greatest rate.

The whole system runs embedded: Kafka, ClickHouse and the four workers. Events come by the clock (`open_loop`).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import orjson
import typer
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.table import Table

from schemas.codec import decoder
from schemas.errors import SettingsError
from schemas.pacing import PacingDecision
from streams.cli.bench.open_loop import Sent, announce, due_s, send_at_rate
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.commands.options import commit_s, whole_numbers
from streams.cli.render.sources import Samples, fetch
from streams.embedded.stack import Stack, require_embedded
from streams.kafka.reads import bounds_consumer, log_bounds
from streams.kafka.settings import group_offsets_settings, reader_settings

STAGES: Final = ("outcome", "clickhouse", "learner", "pacing")
PERCENTILES: Final = (50.0, 99.0, 99.9)
# Clicks of the first seconds meet cold caches, connections and an empty state.
_WARM_UP_S: Final = 5.0
_DRAIN_S: Final = 60.0
_LOOK_S: Final = 0.05
# How many impressions the greatest rate is measured with, sent at once.
_BURST: Final = 300_000


class _Clicked(msgspec.Struct, gc=False):
    """What is read of an outcome."""

    kind: str
    click_id: str | None = None
    campaign_id: str | None = None


@dataclass(slots=True)
class Seen:
    """When each click came through each stage, by click id, in seconds since 1970."""

    outcome: dict[str, float] = field(default_factory=dict)
    clickhouse: dict[str, float] = field(default_factory=dict)
    learner: dict[str, float] = field(default_factory=dict)
    # Of each campaign: its clicks in the order of their outcomes, and (when, how many) of each decision.
    clicks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    decided: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    # (offset, click) of outcomes that the learner has not committed yet.
    unlearned: list[tuple[int, str]] = field(default_factory=list)

    def pacing(self) -> dict[str, float]:
        """When a decision counted each click. A decision says how many clicks of the day it knows."""
        found: dict[str, float] = {}
        for campaign_id, clicks in list(self.clicks.items()):
            decided = list(self.decided[campaign_id])
            place = 0
            for number, click_id in enumerate(list(clicks), 1):
                while place < len(decided) and decided[place][1] < number:
                    place += 1
                if place == len(decided):
                    break
                # A decision can be seen before the outcome.
                found[click_id] = decided[place][0]
        return found

    def stages(self) -> dict[str, dict[str, float]]:
        """When each click came, by stage."""
        return dict(zip(STAGES, (self.outcome, self.clickhouse, self.learner, self.pacing()), strict=True))


def latency(
    seconds: Annotated[float, typer.Option(min=10.0, help="How long each rate is kept up.")] = 60.0,
    shares: Annotated[str, typer.Option(help="Shares of the greatest rate, in per cent.")] = "20,50,80",
    greatest: Annotated[
        int, typer.Option("--max-rate", min=0, help="Impressions a second of 100 %; 0: measure it first.")
    ] = 0,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the inputs.")] = 4,
    commit: Annotated[str, typer.Option(help="How often the join commits.")] = "100ms",
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Time a click from the moment it is due to its outcome, its row, the learner and the pacing decision."""
    require_embedded()
    wanted = whole_numbers("--shares", shares)
    if not all(0 < share <= 100 for share in wanted):
        raise SettingsError(f"--shares {shares}: give per cent from 1 to 100, such as 20,50,80")
    commit_s(commit)  # before anything starts
    say = print_nothing if json else print_progress
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder:
        stack = Stack(Path(folder), partitions=partitions, options={"join": ("--commit", commit)})
        try:
            stack.start(say)
            announce(stack.cluster)
            with watching(stack, partitions) as seen:
                rate = float(greatest) or _greatest_rate(stack, seen, say)
                rounds = [_round(stack, seen, share, rate, seconds, say) for share in wanted]
        finally:
            stack.stop()
    result = {"max_impressions_per_s": round(rate), "commit": commit, "seconds": seconds, "rounds": rounds}
    if json:
        typer.echo(orjson.dumps(result))
    else:
        Console(width=100).print(_table(rounds))


# ---- the load -------------------------------------------------------------------------------------------------------


def _greatest_rate(stack: Stack, seen: Seen, say: Callable[[str], None]) -> float:
    """Impressions a second of a burst, until all of it has come through every stage."""
    say(f"measuring the greatest rate with {_BURST:,} impressions at once …")
    began_s = time.time()
    sent = _sent(stack, seen, 1e9, _BURST / 1e9, seed=1)
    last_s = max(max(at.values(), default=0.0) for at in seen.stages().values())
    rate = sent.impressions / (max(last_s, _idle_s(stack)) - began_s)
    say(f"the greatest rate is {rate:,.0f} impressions/s")
    return rate


def _idle_s(stack: Stack) -> float:
    """Waits until no worker has records left. Returns when that was."""
    until_s = time.time() + _DRAIN_S
    while time.time() < until_s:
        lags = [Samples(fetch(stack.url(name))).total("clickfold_lag_records") for name in ("join", "learn", "sink")]
        if not any(lags):
            break
        time.sleep(_LOOK_S)
    return time.time()


def _round(
    stack: Stack, seen: Seen, share: int, greatest: float, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    rate = greatest * share / 100
    say(f"{share} %: {rate:,.0f} impressions/s for {seconds:.0f} s …")
    began_s = time.time()
    sent = _sent(stack, seen, rate, seconds, seed=share + 1)
    counted_from_s = began_s + _WARM_UP_S
    clicks = sum(due_s(click_id) >= counted_from_s for click_id in seen.outcome)
    found: dict[str, Any] = {}
    for stage, at in seen.stages().items():
        dues = ((came_s, due_s(click_id)) for click_id, came_s in at.items())
        waited_s = [came_s - due for came_s, due in dues if due >= counted_from_s]
        found[stage] = {**_percentiles_ms(waited_s), "clicks": len(waited_s), "missing": clicks - len(waited_s)}
    return {
        "share": share,
        "impressions_per_s": round(sent.impressions / sent.took_s),
        "clicks": sent.clicks,
        "generator_late_ms": round(sent.latest_s * 1_000),
        "stages": found,
    }


def _sent(stack: Stack, seen: Seen, rate: float, seconds: float, *, seed: int) -> Sent:
    """What a process of its own has sent, once all of it has come through every stage, or the wait is over."""
    before = len(seen.outcome)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        sending: Future[Sent] = process.submit(send_at_rate, stack.cluster, rate, seconds, seed)
        while not sending.done():
            stack.check()
            time.sleep(_LOOK_S)
        sent = sending.result()
    until_s = time.time() + _DRAIN_S
    while time.time() < until_s:
        stack.check()
        if all(len(at) >= before + sent.clicks for at in seen.stages().values()):
            break
        time.sleep(_LOOK_S)
    return sent


def _percentiles_ms(waited_s: list[float]) -> dict[str, float]:
    if not waited_s:
        return {}
    found = np.percentile(np.array(waited_s) * 1_000, PERCENTILES)
    return {f"p{percent:g}_ms": round(float(value), 1) for percent, value in zip(PERCENTILES, found, strict=True)}


# ---- the stages -----------------------------------------------------------------------------------------------------


@contextmanager
def watching(stack: Stack, partitions: int) -> Iterator[Seen]:
    """Notes during the block when clicks come through each stage, each in a thread of its own."""
    seen, over = Seen(), threading.Event()
    watches = (
        lambda: _watch_outcomes(stack, seen, over),
        lambda: _watch_clickhouse(stack, seen, over),
        lambda: _watch_learner(stack, seen, over),
        lambda: _watch_decisions(stack, partitions, seen, over),
    )
    threads = [threading.Thread(target=watch, daemon=True) for watch in watches]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(5.0)


def _records(stack: Stack, role: str, partitions: int, over: threading.Event) -> Iterator[tuple[float, int, bytes]]:
    """(seconds since 1970, offset, value) of the committed records that come from now on."""
    topic = stack.cluster.topic(role)
    with closing(bounds_consumer(stack.cluster)) as asking:
        ends = [log_bounds(asking, topic, partition)[1] for partition in range(partitions)]
    with closing(Consumer(reader_settings(stack.cluster, ends=False))) as consumer:
        consumer.assign([TopicPartition(topic, partition, end) for partition, end in enumerate(ends)])
        while not over.is_set():
            messages = consumer.consume(1_000, 0.02)
            now_s = time.time()
            for message in messages:
                if message.error() is None:
                    yield now_s, message.offset() or 0, message.value() or b""


def _watch_outcomes(stack: Stack, seen: Seen, over: threading.Event) -> None:
    decode = decoder(_Clicked).decode
    for now_s, offset, value in _records(stack, "outcomes", 1, over):
        outcome: _Clicked = decode(value)
        if outcome.kind == "click" and outcome.click_id is not None:
            seen.clicks[outcome.campaign_id or ""].append(outcome.click_id)
            seen.unlearned.append((offset, outcome.click_id))
            seen.outcome[outcome.click_id] = now_s


def _watch_clickhouse(stack: Stack, seen: Seen, over: threading.Event) -> None:
    """Asks again and again for the clicks inserted lately. The answer's time counts, so a look costs its own time."""
    with closing(stack.clickhouse.warehouse.connect_to_server()) as client:
        lately = "SELECT click_id FROM ads.outcome_rows WHERE kind = 'click' AND inserted_at >= now() - 20"
        while not over.is_set():
            rows = client.query(lately).result_rows
            now_s = time.time()
            for (click_id,) in rows:
                seen.clickhouse.setdefault(click_id, now_s)
            over.wait(_LOOK_S)


def _watch_learner(stack: Stack, seen: Seen, over: threading.Event) -> None:
    """A click is the learner's once the learner has committed its outcome."""
    place = TopicPartition(stack.cluster.topic("outcomes"), 0)
    group = stack.cluster.group("learn")
    with closing(Consumer(group_offsets_settings(stack.cluster, group, isolation_level="read_uncommitted"))) as asking:
        while not over.is_set():
            next_offset = asking.committed([place], timeout=10.0)[0].offset
            now_s = time.time()
            done = [click_id for offset, click_id in list(seen.unlearned) if offset < next_offset]
            seen.learner.update(dict.fromkeys(done, now_s))
            del seen.unlearned[: len(done)]
            over.wait(_LOOK_S)


def _watch_decisions(stack: Stack, partitions: int, seen: Seen, over: threading.Event) -> None:
    decode = decoder(PacingDecision).decode
    for now_s, _, value in _records(stack, "pacing", partitions, over):
        decision: PacingDecision = decode(value)
        seen.decided[decision.campaign_id].append((now_s, decision.clicks))


def _table(rounds: list[dict[str, Any]]) -> Table:
    table = Table(caption="ms from the moment a click is due; the learner has it, the model learns it a window later")
    for head in ("share", "impressions/s", "stage", "p50", "p99", "p99.9", "clicks", "missing"):
        table.add_column(head, justify="left" if head == "stage" else "right", no_wrap=True)
    for each in rounds:
        for stage, found in each["stages"].items():
            first = stage == STAGES[0]
            cells = (f"{each['share']} %", f"{each['impressions_per_s']:,}") if first else ("", "")
            times = [f"{found[f'p{percent:g}_ms']:,.0f}" if found["clicks"] else "" for percent in PERCENTILES]
            table.add_row(*cells, stage, *times, f"{found['clicks']:,}", f"{found['missing']:,}")
    return table
