"""Which partition a producer puts a key in, for each partitioner in use: to find inputs produced with different ones.

`murmur2`: Java clients, Kafka Streams, Faust, librdkafka's `murmur2_random`. `crc32`: librdkafka's default,
`consistent_random`. `fnv1a`: Sarama, kafka-go's hash balancer, librdkafka's `fnv1a_random`.
`docs/operate/partitioners.md` has the clients.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.errors import SettingsError

_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Kafka's 32-bit murmur2 (org.apache.kafka.common.utils.Utils), unsigned."""
    length = len(key)
    state = (0x9747B28C ^ length) & _MASK
    for start in range(0, length - length % 4, 4):
        word = int.from_bytes(key[start : start + 4], "little") * 0x5BD1E995 & _MASK
        word = (word ^ (word >> 24)) * 0x5BD1E995 & _MASK
        state = state * 0x5BD1E995 & _MASK ^ word
    if rest := key[length - length % 4 :]:
        state = (state ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & _MASK
    state = (state ^ (state >> 13)) * 0x5BD1E995 & _MASK
    return state ^ (state >> 15)


def _fnv1a(key: bytes) -> int:
    state = 0x811C9DC5
    for byte in key:
        state = (state ^ byte) * 0x01000193 & _MASK
    # Sarama reads it as a signed number and drops the sign.
    return abs(state - (1 << 32) if state >> 31 else state)


def java_partition(key: bytes, partitions: int) -> int:
    """The partition of a key with the default partitioner of Java's producer."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def _by_crc32(key: bytes, partitions: int) -> int:
    return zlib.crc32(key) % partitions


def _by_fnv1a(key: bytes, partitions: int) -> int:
    return _fnv1a(key) % partitions


# From key and partition count to partition.
PARTITIONERS: Final = {
    "murmur2": java_partition,
    "crc32": _by_crc32,
    "fnv1a": _by_fnv1a,
}


def possible(keys: Iterable[tuple[int, bytes]], partitions: int) -> set[str]:
    """The partitioners that would put every one of these keys where it is; all of them when there are no keys."""
    names = set(PARTITIONERS)
    for partition, key in keys:
        names = {name for name in names if PARTITIONERS[name](key, partitions) == partition}
    return names


def require_java(topic: str, keys: Sequence[tuple[int, bytes]], partitions: int) -> str:
    """A warning when some of these keys of a topic are not where murmur2 puts them; empty when all are.

    Raises SettingsError when another known partitioner put all of them where they are.
    """
    names = possible(keys, partitions)
    if "murmur2" in names or partitions < 2:
        return ""
    remedy = (
        "a key and its totals do not meet; produce with Java's partitioner (librdkafka: partitioner=murmur2_random) "
        "and recreate the topic"
    )
    if names:
        raise SettingsError(f"{topic} is partitioned by {' or '.join(sorted(names))}, its totals by murmur2: {remedy}")
    astray = sum(java_partition(key, partitions) != partition for partition, key in keys)
    return f"{astray} of {len(keys)} records of {topic} are not in the partition that murmur2 gives: {remedy}"


# After what is wrong with the inputs.
REMEDY: Final = (
    "an impression and its click do not meet; produce both with one partitioner (librdkafka: "
    "partitioner=murmur2_random), then put the records that are in Kafka right with `clickfold repartition`; see "
    "docs/operate/partitioners.md"
)


def keyed_apart(impressions: set[str], clicks: set[str]) -> str:
    """What is wrong when no partitioner may have written both inputs; empty when one may, or one input is not known."""
    if not impressions or not clicks or impressions & clicks:
        return ""
    return (
        f"impressions are partitioned by {' or '.join(sorted(impressions))}, clicks by {' or '.join(sorted(clicks))}: "
        f"{REMEDY}"
    )


def not_known(impressions: set[str], clicks: set[str]) -> str:
    """A warning about inputs that no known partitioner explains; empty when one explains each."""
    named = [log for log, names in (("impressions", impressions), ("clicks", clicks)) if not names]
    if not named:
        return ""
    return (
        f"the newest keys of {' and '.join(named)} are not where one partitioner that is known puts them: make sure "
        "that all producers of both inputs use the same one; see docs/operate/partitioners.md"
    )
