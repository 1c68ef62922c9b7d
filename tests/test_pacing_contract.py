"""The record of `ads.pacing`: what ad servers read of it, and records of the version before."""

from __future__ import annotations

import msgspec
import orjson

from schemas.codec import decode, encode
from schemas.pacing import STATES, PacingDecision, PacingState
from streams.pacing.gate import Gate, GateDecision
from streams.serve.decisions import Decisions
from streams.warehouse.rows import rows_of

OLD = {
    "campaign_id": "c1", "version": 7, "event_ms": 1_000, "day_start": 0, "state": "on_plan", "admit": 1.0,
    "budget_micros": 100, "spend_micros": 40, "plan_micros": 41, "impressions": 9, "clicks": 2,
}  # fmt: skip
NEW = PacingDecision(
    *("c1", 8, 1_000, 0, "on_plan", 1.0, 100, 40, 41, 9, 2),
    bid_multiplier=0.5,
    allowance_micros=3_000,
    valid_until_ms=2_000,
    safe_admit=0.0,
    click_rate=0.01,
)


def test_a_decision_of_the_version_before_has_no_lease_and_does_not_become_stale() -> None:
    old = decode(orjson.dumps(OLD), PacingDecision)
    gate = Gate()
    gate.take(GateDecision.of(msgspec.to_builtins(old)))
    gate.shown("c1", 10**9, 1.0)
    assert gate.admit("c1", "r1", now_ms=4_000_000_000_000) == 1.0


def test_a_gate_applies_the_record_as_it_is_written() -> None:
    gate = Gate()
    gate.take(GateDecision.of(orjson.loads(encode(NEW))))
    assert gate.admit("c1", "r1", now_ms=1_999) == 0.5
    assert gate.admit("c1", "r1", now_ms=2_000) == 0.0  # stale
    gate.shown("c1", 300_000)  # reckoned at a click rate of a hundredth, which is the lease
    assert gate.admit("c1", "r1", now_ms=1_999) == 0.0


def test_a_tombstone_forgets_a_campaign_in_serve_and_makes_no_row() -> None:
    decisions = Decisions()
    assert decisions.take(b"c1", encode(NEW)) is None
    assert decisions.take(b"c1", None) is None
    assert decisions.of(["c1"]) == {}
    rows, refused = rows_of("pacing", [encode(NEW), None], run="")
    assert (len(rows), refused) == (1, [])


def test_every_state_has_words() -> None:
    assert set(STATES) == set(PacingState.__args__)  # type: ignore[attr-defined]
