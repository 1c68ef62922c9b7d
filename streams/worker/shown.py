"""How far in event time the impressions reach that a join has accepted up to its committed offset."""

from __future__ import annotations

from schemas.bounds import NO_BOUND_MS, JoinBounds
from schemas.codec import decoder
from schemas.reading import Unreadable, read, read_impression
from schemas.totals import Ledger
from streams.join.mapped import InputMaps
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_all, stream_log


def highest_shown_ms(cluster: Cluster, partition: int, bounds: JoinBounds, stop: int, maps: InputMaps) -> int:
    """At least the highest `ts` of the impressions that were accepted below offset `stop` of a partition.

    The last ledger below it bounds what it has counted; the records behind it, those of a second or so, are read.
    """
    bound_ms, counted = NO_BOUND_MS, 0
    for value in read_all(cluster, "ledger", partition):
        ledger = read(value, decoder(Ledger).decode)
        if not isinstance(ledger, Unreadable) and counted <= ledger.impressions_next_offset <= stop:
            counted = ledger.impressions_next_offset
            bound_ms = max(bound_ms, ledger.impressions_watermark_ms + bounds.lateness_ms)
    own_form = maps.of.get("impressions")
    for record in stream_log(cluster, cluster.topic("impressions"), partition, start=counted, stop=stop):
        impression = read_impression(own_form([record.value])[0][0] if own_form is not None else record.value)
        if not isinstance(impression, Unreadable):
            bound_ms = max(bound_ms, impression.impression.ts)
    return bound_ms
