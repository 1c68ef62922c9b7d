"""Pace and join killed at random moments under a market that obeys `ads.pacing`; then spend is held against the truth.

`python -m tests.pacing_kills --minutes 5 --seed 7` prints what was done and what each campaign spent. What is billed of
each campaign must be what an independent batch computes of both inputs, and no budget may be passed by more than

    1 click price + refresh lag * spend rate

For a while the join stays down: decisions must then say that they are blind, and no longer once it is back.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from schemas.bounds import JoinBounds
from schemas.codec import decoder
from schemas.events import Campaign
from schemas.pacing import PacingDecision
from schemas.seals import SealRecord
from streams.embedded.broker import Broker
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, read_log
from streams.verify.oracle import truth
from tests.chaos_workers import Worker
from tests.pace_process import Pace
from tests.pacing_bidder import Bidder, Market
from tests.waiting import PATIENCE_S, eventually

PARTITIONS = 2
WINDOW_S = 10
BOUNDS = JoinBounds(window_ms=WINDOW_S * 1_000, skew_ms=1_000, lateness_ms=4_000, future_ms=20_000)
OPTIONS = ("--window", f"{WINDOW_S}s", "--skew", "1s", "--lateness", "4s", "--future", "20s", "--slot", "0")
# A decision takes up to a second to be made and two to reach the slower of the ad servers.
LAG_S = 3.0
# The law remembers what it has learnt from the tenth second on.
_LEARNT_S = 12.0
# A campaign is tried whose bill is most of its budget. Clicks that come late for the join are not in the bill.
_NEAR, _TRIED = 0.85, 0.8
# So many kills come when pacing is ready again, the others also while it starts.
_READY = 0.8
KINDS = ("pace", "pace", "join", "both")


@dataclass
class Spend:
    """A campaign at the end, in micros. `most` is its budget and the bound above it."""

    campaign_id: str
    budget: int
    most: float
    truth: int
    paced: int


@dataclass
class Report:
    """What was done, and what came of it."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    spends: list[Spend] = field(default_factory=list)
    blind_reasons: set[str] = field(default_factory=set)
    shown_blind: dict[str, float] = field(default_factory=dict)
    """By campaign: what was shown while the join was down, as a part of what was left of the budget before."""

    def trouble(self) -> list[str]:
        """What differs from the truth, passes its bound, or did not happen as planned."""
        found = [
            f"{spend.campaign_id}: pacing has {spend.paced:,} billed, the truth is {spend.truth:,}"
            for spend in self.spends
            if spend.paced != spend.truth
        ]
        found += [
            f"{spend.campaign_id}: billed {spend.truth:,}, its budget and the bound are {spend.most:,.0f}"
            for spend in self.spends
            if spend.truth > spend.most
        ]
        found += [
            f"{name}: {part:.0%} of what was left was shown while pacing was blind"
            for name, part in self.shown_blind.items()
            if part > 1.0
        ]
        if not self.blind_reasons:
            found.append("no decision said that it was blind")
        if not any(spend.truth >= _TRIED * spend.budget for spend in self.spends):
            found.append("no campaign came near its budget: nothing was tried")
        return found


def markets(seconds: float) -> list[Market]:
    """Campaigns whose budgets end soon, late and not at all. In none of their time zones is it midnight soon."""
    hour = datetime.now(UTC).hour
    noon = f"Etc/GMT{hour - 12:+d}" if hour != 12 else "UTC"
    end_ms = round((time.time() + seconds) * 1_000)

    def market(name: str, clicks: int, price: int, auctions: float, pacing: str = "asap", **more: int) -> Market:
        campaign = Campaign(name, clicks * price, noon, "active", pacing, 1, **more)  # type: ignore[arg-type]  # a word
        return Market(campaign, auctions, price)

    return [
        market("soon", 100, 100_000, 200),
        market("dear", 20, 2_000_000, 50),
        market("late", round(seconds * 15), 30_000, 150),
        market("even", round(seconds * 4), 50_000, 60, "even", end=end_ms),
        market("never", 1_000_000, 70_000, 20),
    ]


class Kills:
    """One pacing worker, one join worker, their load, and the hand that kills them."""

    def __init__(
        self, broker: Broker, prefix: str, folder: Path, *, seed: int, blind_s: float, say: Callable[[str], None]
    ) -> None:
        self._broker, self._prefix, self._folder = broker, prefix, folder
        self.cluster = Cluster(broker.bootstrap, prefix=prefix)
        self._random, self._say, self._blind_s = Random(seed), say, blind_s
        self.report = Report(seed)
        self._began_s = time.monotonic()
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "CLICKFOLD_TOPIC_PREFIX": prefix,
            "CLICKFOLD_STATE_DIR": str(folder / "state"),
        }
        self._join = Worker(folder, "join-0", [*OPTIONS, "--checkpoint", "2s", "--idle", "1s"], environment)

    def run(self, *, seconds: float, gap_s: tuple[float, float]) -> Report:
        """Kills for so long, and until a campaign is near its budget, then lets the join be down.

        Raises AssertionError in time.
        """
        Admin(self.cluster).create(partitions=PARTITIONS, replication=1)
        self._markets = markets(seconds)
        with ExitStack() as stack:
            stack.callback(self._join.kill)
            self._join.start()
            self._pace = self._start_pace()
            stack.callback(lambda: self._pace.kill())
            self._pace.wait_ready()
            with Bidder(self.cluster, self._markets, seed=self.report.seed, partitions=PARTITIONS) as bidder:
                self._bidder = bidder
                eventually(lambda: len(bidder.newest) == len(self._markets), what="a decision on each campaign")
                # What a campaign's auctions cost is learnt, and remembered.
                self._sleep(_LEARNT_S)
                until_s = time.monotonic() + seconds
                # On a slow machine budgets end later. If none does in time, the report says so.
                while (left_s := until_s - time.monotonic()) > 0 or (left_s > -PATIENCE_S and not self._is_near()):
                    if self._random.random() < _READY:
                        self._pace.wait_ready()
                    self._sleep(self._random.uniform(*gap_s))
                    self._kill(self._random.choice(KINDS))
                self._say(f"{time.monotonic() - self._began_s:6.1f} s  a budget is nearly spent: {self._is_near()}")
                self._be_blind()
            self._end()
        return self.report

    def _is_near(self) -> bool:
        """Whether the clicks of a campaign, those to come included, cost nearly its budget."""
        clicked = self._bidder.clicked_micros
        campaigns = [market.campaign for market in self._markets]
        return any(clicked[one.campaign_id] >= _NEAR * one.daily_budget_micros for one in campaigns)

    def _start_pace(self) -> Pace:
        # Clicks come within the window of the join; a minute is the least that the law takes.
        more: dict[str, Any] = {"window_s": 60, "blind_s": self._blind_s, "overlap_s": LAG_S}
        return Pace(self._broker, self._prefix, self._folder / "pace", slot="0", **more)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        self._bidder.check()

    def _kill(self, kind: str) -> None:
        """SIGKILL, and a start some time later."""
        self._say(f"{time.monotonic() - self._began_s:6.1f} s  kill -9 of {kind}")
        self.report.kills[kind] += 1
        if kind != "join":
            self._pace.kill()
        if kind != "pace":
            self._join.kill()
        self._sleep(self._random.uniform(0.2, 2.0))
        if kind != "join":
            self._pace = self._start_pace()
        if kind != "pace":
            self._join.start()

    def _be_blind(self) -> None:
        """The join is down for longer than the law takes for granted; pace is killed meanwhile."""
        self._pace.wait_ready()
        eventually(lambda: self._newest("never").state != "blind", what="sight, after the kills")
        before = dict(self._bidder.shown_micros)
        left = {market.campaign.campaign_id: self._left(market) for market in self._markets}
        down_ms = round(time.time() * 1_000)
        self._say(f"{time.monotonic() - self._began_s:6.1f} s  kill -9 of join, which stays down")
        self._join.kill()
        for kills in range(2):
            if kills:
                self._kill("pace")
            started_ms = round(time.time() * 1_000)
            eventually(
                lambda since_ms=started_ms: self._is_blind(since_ms),  # type: ignore[misc]  # of this turn
                what="a blind decision",
                about=lambda: [(one.event_ms, one.counted_to_ms, one.state) for one in self._bidder.told[-20:]],
            )
        self.report.blind_reasons = {one.reason for one in self._bidder.told if one.state == "blind"}
        for name, micros in left.items():
            shown = self._bidder.shown_micros[name] - before.get(name, 0)
            self.report.shown_blind[name] = shown / max(micros, 1.0)
        counted_ms = {one.counted_to_ms for one in self._bidder.told if one.state == "blind"}
        assert max(counted_ms) < down_ms + 5_000, "it was blind, and said that all is counted"
        self._join.start()
        eventually(lambda: self._newest("never").state != "blind", what="sight, with the join back")
        self._say(f"{time.monotonic() - self._began_s:6.1f} s  it sees again")
        self._sleep(5.0)

    def _left(self, market: Market) -> float:
        """Of the budget, with the bound above it, when what was shown is billed."""
        return self._most(market) - self._bidder.shown_micros[market.campaign.campaign_id]

    @staticmethod
    def _most(market: Market) -> float:
        return market.campaign.daily_budget_micros + market.price_micros + LAG_S * market.rate

    def _newest(self, name: str) -> PacingDecision:
        return self._bidder.newest[name]

    def _is_blind(self, since_ms: int) -> bool:
        self._bidder.check()
        return any(one.state == "blind" and one.event_ms >= since_ms for one in self._bidder.told[-200:])

    def _end(self) -> None:
        self._join.signal(signal.SIGUSR1)
        self._join.expected = False
        eventually(lambda: not self._join.alive, what="the end of the join", about=self._join.last_words)
        assert self._join.code == 0, self._join.last_words()
        billed: Counter[str] = Counter()
        for partition in range(PARTITIONS):
            judged = truth(
                read_log(self.cluster, "impressions", partition),
                read_log(self.cluster, "clicks", partition),
                BOUNDS,
                seals=[decoder(SealRecord).decode(value) for value in read_all(self.cluster, "seals", partition)],
                partition=partition,
            )
            for (campaign_id, _), sums in judged.campaigns.items():
                billed[campaign_id] += sums["spend_micros"]

        def paced() -> dict[str, int]:
            return {name: sum(day[2] for day in days.values()) for name, days in self._pace.days().items()}

        found = paced()
        with suppress(AssertionError):  # the report says what differs
            found = eventually(paced, equals=dict(billed), within_s=30.0)
        for market in self._markets:
            name = market.campaign.campaign_id
            spend = Spend(
                *(name, market.campaign.daily_budget_micros, self._most(market), billed[name], found.get(name, 0))
            )
            self.report.spends.append(spend)
            over = (spend.truth - spend.budget) / market.price_micros
            self._say(f"  {name:6} {spend.truth / spend.budget:7.2%} of its budget billed; {over:+.1f} click prices")


def main() -> int:
    """Exit code 0: all that is billed is the truth, and every budget kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="clickfold-kills-"))
    print(f"seed {given.seed}, in {folder}", flush=True)
    with Broker(folder / "kafka") as broker:
        kills = Kills(broker, "ads.", folder, seed=given.seed, blind_s=60.0, say=lambda text: print(text, flush=True))
        report = kills.run(seconds=60 * given.minutes, gap_s=(2.0, 20.0))
    trouble = report.trouble()
    for line in trouble:
        print(line, file=sys.stderr)
    if trouble:
        print(f"left in {folder}", file=sys.stderr)
        return 1
    print(f"billed is the truth after {sum(report.kills.values())} kills: {dict(report.kills)}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
