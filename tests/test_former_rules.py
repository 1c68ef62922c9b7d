"""The rules of fold version 1, by which records below the cut of an upgrade are judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from schemas.codec import decoder
from schemas.events import MAX_RECORD_BYTES, Click
from schemas.reading import Unreadable
from schemas.rejects import Reason
from streams.join.former import judge_former, read_former
from streams.join.judge import Fate
from streams.join.watermark import Watermark
from tests.factories import T0, click_json

LATENESS_MS, DEDUPE_MS = 20, 125


def clicked(click_id: str, ts: int, impression_id: str = "a") -> Click:
    return Click(click_id=click_id, impression_id=impression_id, ts=ts)


def fates(*events: Click) -> list[Fate]:
    """What became of each, with those accepted before it in mind."""
    accepted: list[Click] = []

    def accepted_of(place: int) -> Iterable[Click]:
        return [each for each in accepted if each.click_id == events[place].click_id]

    judged = judge_former(
        Watermark(LATENESS_MS),
        events,
        dedupe_ms=DEDUPE_MS,
        accepted_of=accepted_of,
        accept=lambda place: accepted.append(events[place]),
    )
    assert judged.late_by_seal == 0
    return [Fate(fate) for fate in judged.fates.tolist()]


def test_a_record_is_late_just_below_the_lateness_bound_and_those_behind_it_are_judged() -> None:
    log = clicked("a", T0), clicked("b", T0 - LATENESS_MS), clicked("c", T0 - LATENESS_MS - 1), clicked("d", T0)
    assert fates(*log) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.LATE, Fate.ACCEPTED]


def test_a_copy_is_a_duplicate_another_content_a_conflict_and_those_behind_them_are_judged() -> None:
    log = clicked("a", T0), clicked("a", T0), clicked("a", T0, "x"), clicked("b", T0)
    assert fates(*log) == [Fate.ACCEPTED, Fate.DUPLICATE, Fate.CONFLICT, Fate.ACCEPTED]


@pytest.mark.parametrize(("beyond_ms", "fate"), [(0, Fate.CONFLICT), (1, Fate.ACCEPTED)])
def test_an_id_is_new_again_just_above_the_dedupe_horizon(beyond_ms: int, fate: Fate) -> None:
    later = T0 + LATENESS_MS + DEDUPE_MS + beyond_ms
    assert fates(clicked("a", T0), clicked("z", later), clicked("a", later))[2] == fate


def test_only_accepted_records_raise_the_watermark() -> None:
    """A conflict raises it now, and did not then."""
    log = clicked("a", T0), clicked("a", T0 + 100), clicked("b", T0 - LATENESS_MS)
    assert fates(*log) == [Fate.ACCEPTED, Fate.CONFLICT, Fate.ACCEPTED]


def read(value: bytes | None) -> Any:
    return read_former(value, decoder(Click).decode)


def padded(size: int) -> bytes:
    return click_json("k") + b" " * (size - len(click_json("k")))


def test_nesting_was_bounded_by_the_stack_only() -> None:
    deep = click_json("k")[:-1] + b',"more":' + b"[" * 100 + b"]" * 100 + b"}"
    assert isinstance(read(deep), Click)
    assert read(click_json("k")[:-1] + b',"more":' + b"[" * 100_000).reason == Reason.UNDECODABLE


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, Reason.TOMBSTONE), (padded(MAX_RECORD_BYTES + 1), Reason.TOO_LARGE), (b"{", Reason.UNDECODABLE)],
)
def test_a_record_was_refused_for_the_same_reasons(value: bytes | None, reason: Reason) -> None:
    refused = read(value)
    assert isinstance(refused, Unreadable)
    assert refused.reason == reason
    assert refused.detail


def test_a_record_of_the_greatest_size_was_read() -> None:
    assert isinstance(read(padded(MAX_RECORD_BYTES)), Click)
