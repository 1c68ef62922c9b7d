"""What an ad server does with pacing decisions: whether a campaign enters an auction, and with which multiplier.

The standard library is all that it needs, so it can be copied into a bidder. `docs/operate/pacing-gate.md` has the same
in pseudo-code, with test vectors for other languages.

    admit(campaign, request, now):
        decision = newest of the campaign; none, or its lease is used up -> 0
        the user has had decision.frequency_cap impressions of it -> 0, where there is a cap
        share = decision.admit, and at most decision.safe_admit from decision.valid_until_ms on
        fmix32(crc32(campaign + NUL + request)) / 2^32 < share -> decision.bid_multiplier, else 0
    shown(campaign, price, pctr):
        lease of the campaign -= price * pctr

A campaign without a decision stays out: its budget is not known. The hash makes the same request get the same answer
in every ad server and every retry, and makes campaigns independent of each other. CRC-32 (IEEE 802.3, as in zlib) is in
every standard library; it is linear, so MurmurHash3's finaliser mixes its bits: without that two campaigns would be
admitted to auctions that depend on each other.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

_2_32: Final = 4_294_967_296
_LOW: Final = _2_32 - 1
_OPTIONAL: Final = ("safe_admit", "click_rate", "frequency_cap", "frequency_period_s")


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The part of a decision that an ad server needs. `version` only grows, by campaign."""

    campaign_id: str
    version: int
    admit: float
    """Share of auctions that the campaign enters, 0 to 1."""
    bid_multiplier: float
    """Its bids are multiplied by this, 0 to 1."""
    allowance_micros: float
    """Lease: expected spend, price times pCTR, that all ad servers together may show until the next version."""
    valid_until_ms: int
    """From then on the decision is stale, and at most `safe_admit` holds."""
    safe_admit: float = 0.0
    """Share of auctions while the decision is stale."""
    click_rate: float = 0.0
    """Click rate of impressions without a prediction; the measured one of the campaign."""
    frequency_cap: int = 0
    """So many impressions at most for one user in `frequency_period_s`, which the ad server counts; 0: no bound."""
    frequency_period_s: int = 0
    """The period of `frequency_cap`."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> GateDecision:
        """The decision of a decoded record; fields that a gate does not need are ignored. Raises KeyError."""
        optional = {name: record[name] for name in _OPTIONAL if name in record}
        required = ("campaign_id", "version", "admit", "bid_multiplier", "allowance_micros", "valid_until_ms")
        return cls(**{name: record[name] for name in required}, **optional)


class _Held:
    """A campaign's newest decision, the CRC-32 of its name, and what is left of this server's part of the lease."""

    __slots__ = ("crc", "decision", "left_micros")

    def __init__(self, decision: GateDecision, crc: int, left_micros: float) -> None:
        self.decision, self.crc, self.left_micros = decision, crc, left_micros


class Gate:
    """Applies decisions in one of `servers` equal ad servers. Its methods may be called from any thread.

    It has no clock and reads nothing: the caller gives it the records of `ads.pacing` and the time.
    """

    def __init__(self, *, servers: int = 1) -> None:
        if servers < 1:
            raise ValueError(f"servers is {servers}; give how many ad servers share the traffic, at least 1")
        self._servers = servers
        self._held: dict[str, _Held] = {}
        self._lock = Lock()

    def take(self, decision: GateDecision) -> bool:
        """Holds a decision from now on, with a new lease. False for one that is not newer than the one held."""
        with self._lock:
            before = self._held.get(decision.campaign_id)
            if before is not None and decision.version <= before.decision.version:
                return False
            crc = before.crc if before is not None else zlib.crc32(decision.campaign_id.encode() + b"\0")
            self._held[decision.campaign_id] = _Held(decision, crc, decision.allowance_micros / self._servers)
            return True

    def drop(self, campaign_id: str) -> None:
        """Forgets a campaign, as a tombstone says: it stays out from now on."""
        with self._lock:
            self._held.pop(campaign_id, None)

    def frequency(self, campaign_id: str) -> tuple[int, int]:
        """The most impressions for one user, and the period in seconds in which to count them; (0, 0): no bound."""
        held = self._held.get(campaign_id)
        return (held.decision.frequency_cap, held.decision.frequency_period_s) if held is not None else (0, 0)

    def admit(self, campaign_id: str, request_id: str, *, now_ms: int, had: int = 0) -> float:
        """The multiplier of the bids with which the campaign enters this auction; 0: it stays out.

        `had` is how many impressions of the campaign the user had in the period of `frequency`, as the server counts.
        """
        held = self._held.get(campaign_id)
        if held is None or held.left_micros <= 0.0:
            return 0.0
        decision = held.decision
        if decision.frequency_cap and had >= decision.frequency_cap:
            return 0.0
        share = decision.admit
        if now_ms >= decision.valid_until_ms and decision.safe_admit < share:
            share = decision.safe_admit
        # MurmurHash3's fmix32, written out: a call would take a third of the time.
        mixed = zlib.crc32(request_id.encode(), held.crc)
        mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & _LOW
        mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & _LOW
        return decision.bid_multiplier if (mixed ^ mixed >> 16) < share * _2_32 else 0.0

    def shown(self, campaign_id: str, price_micros: int, pctr: float | None = None) -> None:
        """An impression was won: what it is expected to cost comes off the lease. Call it once for each impression."""
        with self._lock:
            held = self._held.get(campaign_id)
            if held is not None:
                held.left_micros -= price_micros * (held.decision.click_rate if pctr is None else pctr)
