"""The topics of a pacing worker: checked at its start; the changelog is created then."""

from __future__ import annotations

from typing import Final

import structlog

from schemas.errors import SettingsError
from schemas.topics import DAY_MS
from streams.kafka.admin import Admin
from streams.kafka.assignors import other_assignor
from streams.kafka.partitioners import require_java
from streams.kafka.reads import sample_keys
from streams.pacing.settings import PacingSettings

log = structlog.get_logger("pace")

# As Faust's assignor calls itself.
_ASSIGNOR: Final = "faust"
_ROLES: Final = ("campaign_totals", "campaigns", "campaign_history", "pacing")
# Rows are rewritten up to once a tick, and the newest segment is never compacted: 16 MiB of rows are read back in
# about 3 s.
_CHANGELOG: Final = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.2",
    "segment.bytes": str(16 << 20),
    # With few campaigns 16 MiB would be hours of rows.
    "segment.ms": "600000",
    "delete.retention.ms": str(DAY_MS),
}


def prepare_topics(settings: PacingSettings) -> int:
    """Partitions of the campaign topics, after the changelog has been created if it did not exist.

    Raises SettingsError when a topic is missing, counts differ, campaigns are keyed by another partitioner than their
    totals or the group has members with another assignor, for which Faust would wait in silence. Raises Transient
    when Kafka does not answer. The changelog is not left to Faust: it refuses -1, the broker's own replication factor.
    """
    admin = Admin(settings.cluster)
    existing = admin.require((*_ROLES, "rejects"))
    names = [*map(settings.cluster.topic, _ROLES), settings.changelog]
    counts = {name: existing[name] for name in names if name in existing}
    if len(set(counts.values())) != 1:
        raise SettingsError(f"partition counts differ: {counts}; a campaign must have one partition number in all")
    partitions = counts[names[0]]
    warning = require_java(names[1], sample_keys(settings.cluster, "campaigns", partitions), partitions)
    if warning:
        log.warning("campaigns are keyed apart", text=warning)
    used = admin.assignor(settings.group)
    if used not in ("", _ASSIGNOR):
        raise other_assignor(
            settings.group, used=used, ours=_ASSIGNOR, remedy="use another topic prefix (CLICKFOLD_TOPIC_PREFIX)"
        )
    if settings.changelog not in existing:
        admin.create_topic(settings.changelog, partitions=partitions, config=_CHANGELOG)
    return partitions
