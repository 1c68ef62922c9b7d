"""The leases that a former owner of a partition gave out last: ad servers may still use them."""

from __future__ import annotations

import msgspec

from schemas.codec import decoder
from schemas.events import MAX_OWN_RECORD_BYTES
from schemas.reading import Unreadable, read
from streams.kafka.cluster import Cluster
from streams.kafka.reads import stream_log
from streams.pacing.decisions import ROLE

# Of a decision of version 0.1, which has no lease.
_NONE = -1


class _Lease(msgspec.Struct, frozen=True):
    """The part of a decision that says what may be shown."""

    campaign_id: str
    version: int
    allowance_micros: int = _NONE


def last_leases(cluster: Cluster, partition: int) -> dict[str, int]:
    """By campaign, the lease of its newest decision in this partition of `ads.pacing`, in micros.

    Reads the whole partition: 100,000 decisions in about a second. Raises Transient when Kafka does not answer.
    """
    newest: dict[str, _Lease] = {}
    for record in stream_log(cluster, cluster.topic(ROLE), partition):
        if record.value is None:
            newest.pop((record.key or b"").decode(errors="replace"), None)
            continue
        lease = read(record.value, decoder(_Lease).decode, max_bytes=MAX_OWN_RECORD_BYTES)
        if isinstance(lease, Unreadable):
            continue
        known = newest.get(lease.campaign_id)
        if known is None or lease.version > known.version:
            newest[lease.campaign_id] = lease
    return {name: lease.allowance_micros for name, lease in newest.items() if lease.allowance_micros != _NONE}
