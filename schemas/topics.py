"""Every topic that clickfold reads or writes, with its partition rule and configuration.

The partition rule says how many partitions a topic has. `join`: as many as the inputs, partitioned alike. `campaign`:
as many as every topic that is keyed by campaign (murmur2). `shard`: one for each model shard. `one`: a single one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

PartitionRule = Literal["join", "campaign", "shard", "one"]

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `role` is its name without the prefix; `writer` and `readers` are workers, commands or your programs.

    Several writers are separated by commas.
    """

    role: str
    partitions: PartitionRule
    writer: str
    readers: tuple[str, ...]
    config: dict[str, str] = field(default_factory=dict)

    @property
    def writers(self) -> list[str]:
        """The writers one by one."""
        return self.writer.split(", ")


def _retained(days: int) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS), "cleanup.policy": "delete"}


# Inputs have LogAppendTime, so that the rule for records in the future compares the broker's clock with the sender's.
# Every topic has its own retention, so that recovery does not depend on the broker's default.
_INPUT = {**_retained(7), "message.timestamp.type": "LogAppendTime"}
_FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
# The newest segment is never compacted: it takes values for ten minutes, so that a reader from the beginning reads few
# that were replaced, and few take space.
# Records of deletion stay for a day, whatever the broker's default: a reader may be away for hours.
_COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": "600000",
    "delete.retention.ms": str(DAY_MS),
}

TOPICS: Final = {
    topic.role: topic
    for topic in (
        Topic("impressions", "join", "you, ingest", ("join",), _INPUT),
        Topic("clicks", "join", "you, ingest", ("join",), _INPUT),
        Topic("campaigns", "campaign", "you", ("pace",), _COMPACTED),
        # Never compacted and kept for ever: budgets of the past are judged by it, and it is the gate's only state.
        Topic("campaign_history", "campaign", "pace", ("pace", "sink"), _FOR_EVER),
        Topic("outcomes", "shard", "join", ("learn", "sink"), _retained(30)),
        Topic("totals", "join", "join", ("sink",), _retained(7)),
        Topic("campaign_totals", "campaign", "join", ("pace",), _retained(7)),
        Topic("rejects", "one", "ingest, join, pace, sink", ("sink",), _retained(30)),
        # Kept as long as the dead letters: what is no longer here has none either.
        Topic("redriven", "one", "clickfold rejects redrive", ("sink",), _retained(30)),
        Topic("ledger", "join", "join", ("sink",), _retained(7)),
        # The third input of the join. Kept at least as long as the others, and never compacted.
        Topic("seals", "join", "join", ("join",), _retained(30)),
        Topic("models", "one", "learn", ("serve", "your bidder"), _COMPACTED),
        Topic("model_metrics", "one", "learn", ("sink",), _retained(30)),
        Topic("pacing", "campaign", "pace", ("serve", "your bidder", "sink"), _COMPACTED),
    )
}


def topic_name(role: str, prefix: str = "ads.") -> str:
    """The name of the topic of a role. Raises KeyError for a role that is not in `TOPICS`."""
    return prefix + TOPICS[role].role
