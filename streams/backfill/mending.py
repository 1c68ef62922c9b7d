"""Records that live work refused, mended by a mapping where they are read again.

Which records those are is part of the plan: their dead letters are read once, so each start of a run mends the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from schemas.records import Records
from schemas.rejects import Reason
from streams.ingest.schemas import reading
from streams.kafka.cluster import Cluster
from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping
from streams.mapping.mending import Mender, NotMended
from streams.redrive.letters import Letters
from streams.worker.environment import variable

# By partition and input, offsets that ascend.
Offsets = Mapping[int, Mapping[str, list[int]]]
# What a mapping may mend. Under another key a record may be in another partition than its click.
_MENDED: Final = (Reason.UNDECODABLE, Reason.MAPPING, Reason.TOO_LARGE, Reason.TOO_DEEP)


def refused_offsets(cluster: Cluster, inputs: tuple[str, ...]) -> dict[int, dict[str, list[int]]]:
    """The records of the inputs that have a dead letter now and that a mapping may mend."""
    roles = {cluster.topic(log): log for log in inputs}
    found: dict[int, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for letter in Letters(cluster, reasons=_MENDED):
        if letter.topic in roles:
            found[letter.partition][roles[letter.topic]].add(letter.offset)
    return {partition: {log: sorted(offsets) for log, offsets in by_log.items()} for partition, by_log in found.items()}


class Mending:
    """Mends the records of a replay at these offsets, with the mapping of this text."""

    def __init__(self, text: str, name: str, offsets: Offsets) -> None:
        """Raises SettingsError for a mapping that cannot be read, or a salt that is not in the environment."""
        file = read_mapping(text, name)
        salts = {each: variable(each) for each in file.salts()}
        inputs = {log: Compiled(one, salts) for log, one in file.inputs.items()}
        # Without a registry: what it knows may change, and each start must mend the same.
        self._mender = Mender(inputs, file.digest, reading(inputs.values(), None, with_headers=file.headers))
        self._offsets = offsets
        self.with_headers = file.headers

    def __call__(self, records: Records) -> Records:
        """The records, those at the offsets as the mapping makes them. One that it cannot mend stays as it is."""
        wanted = self._offsets.get(records.partition, {}).get(records.log, [])
        first = bisect_left(wanted, records.offsets[0])
        last = bisect_left(wanted, records.offsets[-1] + 1)
        if first == last:
            return records
        values = list(records.values)
        for offset in wanted[first:last]:
            row = bisect_left(records.offsets, offset)
            if row == len(values) or records.offsets[row] != offset:
                continue
            headers = records.headers[row] if records.headers is not None else None
            mended = self._mender.mend(records.log, values[row], headers)
            if not isinstance(mended, NotMended):
                values[row] = mended[0].value
        return Records(records.log, records.partition, records.offsets, records.timestamps, records.keys, values)
