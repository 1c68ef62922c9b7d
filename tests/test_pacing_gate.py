"""What an ad server does with decisions: vectors for other languages, throttling, leases, threads, speed."""

from __future__ import annotations

import ast
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streams.pacing import gate
from streams.pacing.gate import Gate, GateDecision
from tests.gate_vectors import VECTORS, vectors


def decision(campaign: str = "c", **more: Any) -> GateDecision:
    usual = {"version": 1, "admit": 1.0, "bid_multiplier": 1.0, "allowance_micros": 1e9, "valid_until_ms": 10_000}
    return GateDecision.of({"campaign_id": campaign} | usual | more)


def opened(**more: Any) -> Gate:
    made = Gate()
    assert made.take(decision(**more))
    return made


def test_the_vectors_hold() -> None:
    held = json.loads(VECTORS.read_text())
    asked = Gate(servers=held["servers"])
    for call in held["calls"]:
        name, answer = call.pop("call"), call.pop("answer")
        arguments = [GateDecision.of(call["decision"])] if name == "take" else []
        given = {} if name == "take" else call
        answered = getattr(asked, name)(*arguments, **given)
        assert (list(answered) if isinstance(answered, tuple) else answered) == answer, call


def test_the_file_of_vectors_is_written_from_its_source() -> None:
    assert VECTORS.read_text() == vectors()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97, 1.0])
def test_a_campaign_enters_its_share_of_auctions(share: float) -> None:
    asked = opened(admit=share)
    entered = sum(asked.admit("c", f"{number:x}", now_ms=0) > 0 for number in range(20_000))
    assert entered == pytest.approx(20_000 * share, abs=4 * (20_000 * share * (1 - share)) ** 0.5)


def test_campaigns_enter_independently_of_each_other() -> None:
    asked = Gate()
    names = ("a", "b", "c1", "c2")
    for name in names:
        asked.take(decision(name, admit=0.5))
    entered = {name: [asked.admit(name, f"r{number}", now_ms=0) for number in range(8_000)] for name in names}
    for one in names:
        for other in names:
            if one < other:
                together = sum(x * y for x, y in zip(entered[one], entered[other], strict=True))
                assert together == pytest.approx(2_000, abs=160), (one, other)


def test_the_same_request_is_answered_alike_in_every_server() -> None:
    servers = [opened(admit=0.3) for _ in range(3)]
    for number in range(200):
        assert len({each.admit("c", f"r{number}", now_ms=0) for each in servers}) == 1


def test_a_lease_is_shared_among_servers_and_renewed_by_the_next_version() -> None:
    asked = Gate(servers=4)
    asked.take(decision(allowance_micros=4_000))
    asked.shown("c", 99_999, 0.01)
    assert asked.admit("c", "r", now_ms=0) == 1.0
    asked.shown("c", 2, 0.01)
    assert asked.admit("c", "r", now_ms=0) == 0.0
    assert not asked.take(decision(allowance_micros=4_000))
    assert asked.admit("c", "r", now_ms=0) == 0.0
    asked.take(decision(version=2, allowance_micros=4_000))
    assert asked.admit("c", "r", now_ms=0) == 1.0


def test_an_impression_without_a_prediction_counts_with_the_measured_rate() -> None:
    asked = opened(allowance_micros=100, click_rate=0.5)
    asked.shown("c", 199)
    assert asked.admit("c", "r", now_ms=0) == 1.0
    asked.shown("c", 1)
    assert asked.admit("c", "r", now_ms=0) == 0.0


def test_no_spend_of_other_threads_is_lost() -> None:
    asked = opened(allowance_micros=100_000)

    def show(_: int) -> None:
        for _ in range(12_499):
            asked.shown("c", 1, 1.0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(show, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert asked.admit("c", "r", now_ms=0) == 1.0
    asked.shown("c", 8, 1.0)
    assert asked.admit("c", "r", now_ms=0) == 0.0


def test_a_user_who_had_the_most_impressions_has_no_more_and_others_do() -> None:
    asked = opened(frequency_cap=3, frequency_period_s=3_600)
    assert [asked.admit("c", "r", now_ms=0, had=had) for had in (0, 2, 3, 4)] == [1.0, 1.0, 0.0, 0.0]
    assert (asked.frequency("c"), asked.frequency("other")) == ((3, 3_600), (0, 0))
    assert opened().admit("c", "r", now_ms=0, had=1_000) == 1.0


def test_servers_must_be_at_least_one() -> None:
    with pytest.raises(ValueError, match="servers is 0"):
        Gate(servers=0)


def test_it_imports_the_standard_library_only() -> None:
    with open(gate.__file__) as file:
        tree = ast.parse(file.read())
    names = [each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_a_call_takes_less_than_three_microseconds() -> None:
    asked = opened(admit=0.5, frequency_cap=3, frequency_period_s=60)
    requests = [f"request-{number}" for number in range(10_000)]

    def cpu_s() -> float:
        start = time.thread_time()
        for request in requests:
            asked.admit("c", request, now_ms=0, had=1)
        return time.thread_time() - start

    assert min(cpu_s() for _ in range(5)) / len(requests) < 3e-6
