"""Partitioners as the clients have them."""

from __future__ import annotations

import pytest

from schemas.errors import SettingsError
from streams.kafka.partitioners import PARTITIONERS, keyed_apart, murmur2, not_known, possible, require_java


@pytest.mark.parametrize(
    ("key", "signed"),
    # From UtilsTest.testMurmur2 of Apache Kafka.
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafka(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


def test_keys_of_one_partitioner_are_recognised_and_others_are_not() -> None:
    keys = [f"impression-{number}".encode() for number in range(50)]
    for name, partition_of in PARTITIONERS.items():
        assert possible([(partition_of(key, 8), key) for key in keys], 8) == {name}


def test_inputs_written_by_different_partitioners_are_named_with_a_remedy() -> None:
    said = keyed_apart({"murmur2"}, {"crc32"})
    assert said.startswith("impressions are partitioned by murmur2, clicks by crc32: ")
    assert "partitioner=murmur2_random" in said


def test_a_partitioner_that_may_have_written_both_or_is_unknown_is_no_difference() -> None:
    assert keyed_apart(set(), {"crc32"}) == ""
    assert keyed_apart(set(PARTITIONERS), {"fnv1a"}) == ""


def test_inputs_that_no_known_partitioner_explains_are_named() -> None:
    assert not_known({"murmur2"}, {"murmur2"}) == ""
    assert "the newest keys of clicks are" in not_known({"murmur2"}, set())
    assert "the newest keys of impressions and clicks are" in not_known(set(), set())


def test_campaigns_are_refused_only_where_another_partitioner_explains_all_of_them() -> None:
    keys = [f"c{number}".encode() for number in range(40)]
    java = [(PARTITIONERS["murmur2"](key, 4), key) for key in keys]
    other = [(PARTITIONERS["crc32"](key, 4), key) for key in keys]
    assert require_java("ads.campaigns", java, 4) == require_java("ads.campaigns", [], 4) == ""
    with pytest.raises(SettingsError, match=r"ads.campaigns is partitioned by crc32, .*partitioner=murmur2_random"):
        require_java("ads.campaigns", other, 4)
    # Left over from before its producer was corrected: the others are paced.
    warning = require_java("ads.campaigns", [*java[:30], *other[30:]], 4)
    assert warning.startswith(
        f"{sum(place not in java for place in other[30:])} of 40 records of ads.campaigns are not in the partition"
    )
    assert require_java("ads.campaigns", [(0, key) for key in keys], 1) == ""
