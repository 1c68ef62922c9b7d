"""What `--from` and `--to` may say, and what they come to."""

from __future__ import annotations

import pytest

from schemas.errors import SettingsError
from streams.kafka.ranges import ByInput, Kept, bounded, offsets_named

KEPT = Kept({"impressions": [5, 0], "clicks": [2, 0]}, {"impressions": [100, 90], "clicks": [20, 0]})


def at_time(ts_ms: int) -> ByInput:
    return {"impressions": [ts_ms % 100, 7], "clicks": [3, 0]}


def named(text: str) -> ByInput:
    return offsets_named("--from", text, kept=KEPT, at_time=at_time)


def test_offsets_are_taken_as_given_in_any_order_of_inputs() -> None:
    found = named(" clicks:1=0, 0=20 ; impressions:0=5,1=90")
    assert found == {"impressions": [5, 90], "clicks": [20, 0]}


def test_earliest_and_latest_are_what_kafka_keeps() -> None:
    assert named("earliest") == KEPT.first
    assert named("latest") == KEPT.end


@pytest.mark.parametrize(
    "text", ["time:1970-01-01T00:00:00.042Z", "time:1970-01-01T01:00:00.042+01:00", "1970-01-01T01:00:00.042+01:00"]
)
def test_times_are_record_times_and_utc_unless_they_say_otherwise(text: str) -> None:
    assert named(text)["impressions"] == [42, 7]
    assert named("time:1970-01-01T00:00:00.042")["impressions"] == [42, 7]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("impressions", "cannot be read at 'impressions'"),
        ("impressions:0=x", "cannot be read at '0=x'"),
        ("impressions:0=-1", "cannot be read"),
        ("impressions:0=5,0=6", r"impressions\[0\] twice"),
        ("views:0=5", "names input 'views'; the inputs are impressions, clicks"),
        ("impressions:0=5,2=6", "partition 2 of impressions, which has 2"),
        ("impressions:0=5,1=6;clicks:0=2", r"says nothing of clicks\[1\]"),
        ("impressions:0=4,1=6;clicks:0=2,1=0", r"offset 4 of impressions\[0\], but Kafka keeps it from 5"),
        ("impressions:0=5,1=91;clicks:0=2,1=0", r"offset 91 of impressions\[1\], but the log ends at 90"),
        ("time:yesterday", "is not a time"),
    ],
)
def test_wrong_range_is_one_sentence_with_option_value_and_bound(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        named(text)
    assert "--from" in str(caught.value)


def test_range_is_complete_by_partition_and_says_what_was_kept() -> None:
    found = bounded("earliest", "impressions:0=50,1=90;clicks:0=2,1=0", kept=KEPT, at_time=at_time)
    assert found.start == {0: {"impressions": 5, "clicks": 2}, 1: {"impressions": 0, "clicks": 0}}
    assert found.stop == {0: {"impressions": 50, "clicks": 2}, 1: {"impressions": 90, "clicks": 0}}
    assert found.end[1] == {"impressions": 90, "clicks": 0}


def test_range_that_ends_before_it_begins_names_both_offsets() -> None:
    with pytest.raises(SettingsError, match=r"--from is offset 50 of impressions\[0\], above --to, which is 49"):
        bounded(
            "impressions:0=50,1=0;clicks:0=2,1=0", "impressions:0=49,1=0;clicks:0=2,1=0", kept=KEPT, at_time=at_time
        )
