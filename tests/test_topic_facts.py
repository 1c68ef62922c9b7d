"""Which change of a topic concerns a group of workers, and what the sentence about it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.kafka.cluster import Cluster
from streams.kafka.topic_facts import Committed, TopicFacts, make_note, offsets_change, topic_change
from streams.kafka.watched import join_topics, learn_topics, pace_topics, sink_topics

CLUSTER = Cluster("nowhere:9092")
JOIN = join_topics(CLUSTER, "ads.join")
FACTS = {name: TopicFacts(f"id of {name}", 4) for name in JOIN.names}
COMMITTED = {"ads.impressions": Committed(120, 131, 4), "ads.clicks": Committed(7, 7, 4)}
NOTE = make_note(FACTS, COMMITTED, seen_ms=1_764_388_800_000)


def changed(**topics: TopicFacts | None) -> str:
    """What the join says when these topics are other ones than noted; None for one that is not there."""
    found = {**FACTS, **{f"ads.{role}": facts for role, facts in topics.items()}}
    return topic_change(JOIN, NOTE, {name: facts for name, facts in found.items() if facts is not None})


def test_topics_as_noted_have_not_changed() -> None:
    assert changed() == ""


def test_topic_with_another_id_was_created_again_and_the_sentence_has_offsets_time_and_remedy() -> None:
    assert changed(impressions=TopicFacts("another", 4)) == (
        "topic ads.impressions was deleted and created again: at 2025-11-29 04:00:00 UTC the workers of group ads.join "
        "had committed offsets 120 to 131 of 4 partitions of it; its records are other ones, so start its workers with "
        "another --group, which is a new run; to keep figures apart use another topic prefix"
    )
    assert "had committed offset 7 of it" in changed(clicks=TopicFacts("another", 4))
    assert "had committed no offset of it" in changed(seals=TopicFacts("another", 4))


def test_partitions_that_were_added_are_named() -> None:
    assert "topic ads.clicks was given other partitions (4 -> 8): " in changed(clicks=TopicFacts("id of ads.clicks", 8))
    assert "created again with other partitions (4 -> 8): " in changed(clicks=TopicFacts("another", 8))
    assert "(4 -> 5)" in changed(outcomes=TopicFacts("id of ads.outcomes", 5))


def test_topic_that_is_gone_was_deleted() -> None:
    assert changed(clicks=None).startswith("topic ads.clicks was deleted: ")


def test_output_that_was_created_again_and_a_topic_not_noted_yet_do_not_stop_the_join() -> None:
    assert changed(outcomes=TopicFacts("another", 4)) == ""
    assert topic_change(JOIN, make_note({}, {}, seen_ms=0), FACTS) == ""


def test_sink_goes_on_with_more_partitions_and_not_with_a_topic_created_again() -> None:
    sink = sink_topics(CLUSTER, "ads.sink", ("totals",))
    note = make_note({"ads.totals": TopicFacts("one", 2)}, {}, seen_ms=0)
    assert topic_change(sink, note, {"ads.totals": TopicFacts("one", 3)}) == ""
    assert "--group" in topic_change(sink, note, {"ads.totals": TopicFacts("two", 2)})


def test_offsets_that_are_gone_while_their_topic_is_there_stop_the_join() -> None:
    assert offsets_change(JOIN, NOTE, COMMITTED) == ""
    for left in ({}, {**COMMITTED, "ads.clicks": Committed(7, 7, 3)}):
        sentence = offsets_change(JOIN, NOTE, left)
        assert "group ads.join" in sentence
        assert "were deleted or have expired: at 2025-11-29 04:00:00 UTC" in sentence
    assert offsets_change(replace(JOIN, offsets=""), NOTE, {}) == ""


@pytest.mark.parametrize(
    ("watched", "remedy"),
    [
        (learn_topics(CLUSTER, "g"), "another --group"),
        (pace_topics(CLUSTER, "g", changelog="g-state-changelog"), "delete topic g-state-changelog"),
    ],
)
def test_each_worker_names_its_own_remedy(watched: object, remedy: str) -> None:
    assert remedy in watched.renew  # type: ignore[attr-defined]
    assert remedy in watched.grown  # type: ignore[attr-defined]
