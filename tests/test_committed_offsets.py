"""Offsets that another program committed to the group are refused: they say nothing about the state of a worker."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition

from schemas.errors import LostHistory
from streams.engine.ports import Commit
from streams.kafka.groups import one_commit

NOTHING = -1001


def committed(*offsets_and_marks: tuple[int, str | None]) -> Commit | None:
    """What one task committed, read from the places of its two inputs."""
    places = [
        TopicPartition(topic, 3, offset) if mark is None else TopicPartition(topic, 3, offset, mark)
        for topic, (offset, mark) in zip(("ads.impressions", "ads.clicks"), offsets_and_marks, strict=True)
    ]
    return one_commit(places, role_of=lambda topic: topic.removeprefix("ads."))


def test_offsets_with_one_mark_are_a_commit_and_no_offsets_are_none() -> None:
    assert committed((0, "mark"), (7, "mark")) == Commit({"impressions": 0, "clicks": 7}, b"mark")
    assert committed((NOTHING, None), (NOTHING, None)) is None


def test_offsets_without_a_mark_were_committed_by_another_program_and_are_refused() -> None:
    with pytest.raises(LostHistory, match=r"partition 3 are .* with 0 marks: .* start a new run with another --group"):
        committed((5, None), (7, None))


def test_offsets_of_two_commits_are_refused() -> None:
    with pytest.raises(LostHistory, match="with 2 marks"):
        committed((5, "mark"), (7, "another"))


@pytest.mark.parametrize("at", [((5, "mark"), (NOTHING, None)), ((NOTHING, None), (0, "mark"))])
def test_offsets_that_expired_for_one_input_are_refused(at: tuple[tuple[int, str | None], ...]) -> None:
    with pytest.raises(LostHistory, match="expired in part"):
        committed(*at)
