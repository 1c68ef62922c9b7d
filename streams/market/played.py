"""The state of a market that is played second by second: what servers hold, clicks to come, counters."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.errors import BrokenInvariant
from streams.kernels.auctions import COUNTERS, HELD, QUARTERS_KEPT, SPEND, VERSION, play
from streams.market.scenario import DAY_S, Scenario
from streams.market.world import Floats, World

_PENDING: Final = 400_000
# Decisions of so many ticks can still be taken by a server: 16 times 4 s.
_NEWS_KEPT: Final = 16


class Played:
    """A market from its first second on. All arrays have a row for each campaign; servers begin without a decision."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        campaigns, minutes = len(world.bids), len(world.level)
        self.world = world
        self.now_s = 0
        self.seen_to_s = 0
        self.counters = np.zeros((campaigns, COUNTERS))
        self.seen = np.zeros((campaigns, COUNTERS))
        self.attributed = np.zeros((campaigns, QUARTERS_KEPT))
        self.seen_attributed = np.zeros((campaigns, QUARTERS_KEPT))
        self.spend_by_minute = np.zeros((campaigns, minutes))
        self.clicks_by_minute = np.zeros((campaigns, minutes))
        self._window_s = scenario.window_s
        self._servers = np.array(scenario.servers, np.int64)
        self._held = np.zeros((len(self._servers), campaigns, HELD))
        self._held[:, :, VERSION] = -1.0
        self._news = np.zeros((_NEWS_KEPT, campaigns, HELD))
        self._news_at = np.full(_NEWS_KEPT, -1, np.int64)
        self._published = 0
        size = 1 << (scenario.window_s + 2).bit_length()
        self._bucket = np.full(size, -1, np.int64)
        self._link, self._pending = np.zeros(_PENDING, np.int64), np.zeros((_PENDING, 3))
        self._free = np.concatenate(([_PENDING], np.arange(_PENDING))).astype(np.int64)

    def publish(self, table: Floats) -> None:
        """Makes decisions at this second: a row of `streams.kernels.auctions.HELD` columns for each campaign."""
        place = self._published % _NEWS_KEPT
        self._news[place], self._news_at[place] = table, self.now_s
        self._published += 1

    def held(self, server: int) -> Floats:
        """What a server holds: a row of `streams.kernels.auctions.HELD` columns for each campaign."""
        return np.asarray(self._held[server])

    def until(self, to_s: int, *, seen_s: int | None = None) -> None:
        """Plays up to a second, exclusive. Totals are seen as they are at the start of second `seen_s`."""
        w = self.world
        at = -1 if seen_s is None else seen_s - 1
        span = np.array([w.seed, self.now_s, to_s, at, self._window_s], np.int64)
        left = play(
            *(span, w.level, w.outside, w.alias_share, w.alias, w.taste, w.bids, w.rates, w.told, w.outside_scores),
            *(w.delays, w.crcs, self._news, self._news_at, self._servers, self._held, self.counters, self.attributed),
            *(self.seen, self.seen_attributed, self._bucket, self._link, self._pending, self._free),
            *(self.spend_by_minute, self.clicks_by_minute),
        )
        if left < 0:
            raise BrokenInvariant(f"more than {_PENDING} clicks are to come; make the market smaller")
        self.now_s = to_s
        if seen_s is not None:
            self.seen_to_s = seen_s


def unpaced(world: World, scenario: Scenario) -> Played:
    """The same market with every campaign in every auction, at its full bid."""
    played = Played(world, scenario)
    table = np.zeros((len(world.bids), HELD))
    table[:] = (1.0, 1.0, 1.0, np.inf, np.inf, 1.0, 0.0)
    played.publish(table)
    played.until(scenario.days * DAY_S)
    return played


def spent_in(played: Played, from_s: int, to_s: int) -> Floats:
    """What each campaign was billed in whole minutes."""
    return np.asarray(played.spend_by_minute[:, from_s // 60 : to_s // 60].sum(1))


assert SPEND < COUNTERS
