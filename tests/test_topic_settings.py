"""What the settings of topics that exist mean: refused, warned of, or right."""

from __future__ import annotations

import pytest

from schemas.errors import SettingsError
from schemas.topics import TOPICS, topic_name
from streams.kafka.topic_settings import producers_times, records_that_age, refuse_ageing, refuse_compaction

BY_NAME = {topic_name(topic.role): topic for topic in TOPICS.values()}
RIGHT = {topic_name(topic.role): topic.config for topic in TOPICS.values()}
RECORDS = sorted(name for name, config in RIGHT.items() if config["cleanup.policy"] == "delete")


def test_topics_as_init_makes_them_are_right() -> None:
    refuse_compaction(BY_NAME, RIGHT)
    refuse_ageing(BY_NAME, RIGHT)
    assert producers_times(BY_NAME, RIGHT) == ""
    assert records_that_age(BY_NAME, RIGHT) == []


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_topic_that_compaction_would_rob_is_refused(name: str, policy: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"topic {name} has cleanup.policy={policy}: .*set cleanup.policy=delete for it"
    ):
        refuse_compaction(BY_NAME, {name: {"cleanup.policy": policy}})


def test_impressions_and_clicks_are_among_the_topics_refused() -> None:
    assert {"ads.impressions", "ads.clicks", "ads.outcomes", "ads.seals", "ads.campaign_history"} <= set(RECORDS)


@pytest.mark.parametrize("limit", ["retention.ms", "retention.bytes"])
def test_a_history_of_campaigns_that_kafka_deletes_by_age_or_size_is_refused(limit: str) -> None:
    with pytest.raises(SettingsError, match=rf"topic ads.campaign_history has {limit}=9: .*set {limit}=-1 for it"):
        refuse_ageing(BY_NAME, {"ads.campaign_history": {limit: "9"}, "ads.totals": {limit: "9"}})
    refuse_ageing(BY_NAME, {"ads.campaign_history": {limit: "-1"}, "ads.totals": {limit: "9"}})


def test_inputs_with_times_of_their_producers_are_one_warning() -> None:
    created = {name: {"message.timestamp.type": "CreateTime"} for name in ("ads.impressions", "ads.clicks")}
    warning = producers_times(BY_NAME, created, worker="join")
    assert warning.startswith("ads.impressions and ads.clicks have message.timestamp.type=CreateTime")
    assert "the producers' word" in warning
    assert producers_times(BY_NAME, {"ads.clicks": created["ads.clicks"]}).startswith("ads.clicks has message")
    # The learner reads neither, and outputs are written with times of their own.
    assert producers_times(BY_NAME, created, worker="learn") == ""
    assert producers_times(BY_NAME, {"ads.outcomes": {"message.timestamp.type": "CreateTime"}}) == ""


def test_campaigns_that_kafka_deletes_by_age_are_a_warning() -> None:
    (warning,) = records_that_age(BY_NAME, {"ads.campaigns": {"cleanup.policy": "delete", "retention.ms": "604800000"}})
    assert "topic ads.campaigns has cleanup.policy=delete" in warning
    assert "retention.ms=604800000" in warning
    assert records_that_age(BY_NAME, {"ads.campaigns": {"cleanup.policy": "delete", "retention.ms": "-1"}}) == []


def test_settings_that_this_user_may_not_see_are_no_fault() -> None:
    hidden: dict[str, dict[str, str]] = {name: {} for name in BY_NAME}
    refuse_compaction(BY_NAME, hidden)
    refuse_ageing(BY_NAME, hidden)
    assert (producers_times(BY_NAME, hidden), records_that_age(BY_NAME, hidden)) == ("", [])
