"""Test vectors of the gate: what `streams.pacing.gate` answers to a list of calls, for other languages.

    python -m tests.gate_vectors --write

writes `docs/_static/gate-vectors.json` anew. The answers come from `plainly`, which is written apart from the gate.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

VECTORS: Final = Path(__file__).parents[1] / "docs" / "_static" / "gate-vectors.json"
SERVERS: Final = 2


def crc32(data: bytes) -> int:
    """CRC-32 of IEEE 802.3, bit by bit."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0xEDB88320 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def fmix32(number: int) -> int:
    """The finaliser of MurmurHash3, 32 bits."""
    number = (number ^ number >> 16) * 0x85EBCA6B % 2**32
    number = (number ^ number >> 13) * 0xC2B2AE35 % 2**32
    return number ^ number >> 16


def plainly(calls: list[dict[str, Any]]) -> list[Any]:
    """The answers to calls of one gate of `SERVERS`; None for calls that answer nothing."""
    held: dict[str, dict[str, Any]] = {}
    left: dict[str, float] = {}
    answers: list[Any] = []
    for call in calls:
        name, answer = call["call"], None
        campaign = call["decision"]["campaign_id"] if name == "take" else call["campaign_id"]
        if name == "take":
            answer = campaign not in held or call["decision"]["version"] > held[campaign]["version"]
            if answer:
                held[campaign], left[campaign] = call["decision"], call["decision"]["allowance_micros"] / SERVERS
        elif name == "drop":
            held.pop(campaign, None)
        elif name == "shown" and campaign in held:
            rate = held[campaign]["click_rate"] if call["pctr"] is None else call["pctr"]
            left[campaign] -= call["price_micros"] * rate
        elif name == "frequency":
            decision = held.get(campaign, {})
            answer = [decision.get("frequency_cap", 0), decision.get("frequency_period_s", 0)]
        elif name == "admit":
            answer = 0.0
            if campaign in held and left[campaign] > 0:
                decision = held[campaign]
                share = decision["admit"]
                if call["now_ms"] >= decision["valid_until_ms"]:
                    share = min(share, decision["safe_admit"])
                if 0 < decision.get("frequency_cap", 0) <= call["had"]:
                    share = 0.0
                if fmix32(crc32(f"{campaign}\0{call['request_id']}".encode())) / 2**32 < share:
                    answer = decision["bid_multiplier"]
        answers.append(answer)
    return answers


def calls() -> list[dict[str, Any]]:
    """Each rule of the gate, just inside and just outside."""

    def take(version: int, admit: float, **more: Any) -> dict[str, Any]:
        decision = {"campaign_id": "c-1", "version": version, "admit": admit, "bid_multiplier": 0.5}
        rest = {"allowance_micros": 10_000, "valid_until_ms": 1_000, "safe_admit": 0.25, "click_rate": 0.5}
        return {"call": "take", "decision": decision | rest | more}

    def ask(request: str, now_ms: int = 0, campaign: str = "c-1", had: int = 0) -> dict[str, Any]:
        return {"call": "admit", "campaign_id": campaign, "request_id": request, "now_ms": now_ms, "had": had}

    def frequency(campaign: str = "c-1") -> dict[str, Any]:
        return {"call": "frequency", "campaign_id": campaign}

    def shown(price: int, pctr: float | None) -> dict[str, Any]:
        return {"call": "shown", "campaign_id": "c-1", "price_micros": price, "pctr": pctr}

    many = [f"request-{number}" for number in range(24)]
    return [
        *(ask("unknown campaign"), take(2, 0.5), *map(ask, many)),
        *(take(1, 1.0), take(2, 1.0), *map(ask, many[:6])),  # not newer
        *(ask(each, now_ms) for each in many[:8] for now_ms in (999, 1_000)),  # stale
        *(take(3, 1.0), ask("all"), shown(49_999, 0.1), ask("lease nearly used up"), shown(1, None), ask("a little")),
        *(shown(2, None), ask("used up"), take(4, 1.0), ask("a new lease")),
        *(take(5, 0.1, safe_admit=0.9), *(ask(each, 5_000) for each in many[:6])),  # never more than the decision
        *(take(6, 0.0), ask("nothing"), take(7, 1.0, bid_multiplier=1.0), ask("é 日本"), ask("")),
        *(take(1, 0.5, campaign_id="Ünïcode"), *(ask(each, campaign="Ünïcode") for each in many[:8])),
        *(frequency(), ask("no cap", had=9), take(8, 1.0, frequency_cap=3, frequency_period_s=86_400), frequency()),
        *(ask("below the cap", had=2), ask("at the cap", had=3), ask("above it", had=4), ask("a new user")),
        *({"call": "drop", "campaign_id": "c-1"}, ask("dropped"), frequency(), take(1, 1.0), ask("back")),
    ]


def vectors() -> str:
    """The file's text."""
    asked = calls()
    answered = [call | {"answer": answer} for call, answer in zip(asked, plainly(asked), strict=True)]
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in answered)
    return f'{{"servers": {SERVERS}, "calls": [\n{lines}\n]}}\n'


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    VECTORS.write_text(vectors())
