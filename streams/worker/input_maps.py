"""The mapping through which the join reads inputs of another form: made ready, and tried on a sample."""

from __future__ import annotations

from itertools import starmap
from typing import Final

from schemas.errors import SettingsError
from schemas.reading import Unreadable, event_of
from schemas.records import Record
from streams.ingest.direct import DirectInput, require_direct
from streams.join.mapped import InputMaps
from streams.kafka.cluster import Cluster
from streams.kafka.groups import has_begun
from streams.kafka.reads import sample_records
from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping
from streams.worker.environment import variable

OPTION: Final = "--input-map"
# So many of the newest records show at the first start whether the mapping is theirs.
_SAMPLED: Final = 1_000


def input_maps(text: str, name: str) -> InputMaps:
    """The mapping of this text, ready for the join; none for an empty one.

    Raises SettingsError for a mapping that cannot be read or that the join cannot use, and for a salt that is not in
    the environment.
    """
    if not text:
        return InputMaps()
    file = read_mapping(text, name)
    require_direct(file, OPTION)
    salts = {each: variable(each) for each in file.salts()}
    return InputMaps({log: DirectInput(log, Compiled(one, salts)) for log, one in file.inputs.items()}, file.digest)


def check_input_maps(cluster: Cluster, group: str, maps: InputMaps, partitions: int) -> None:
    """Raises SettingsError if the newest records of an input cannot be what the mapping says, before the first start.

    Later, such records are dead letters, and no reason to stop.
    """
    for log, own_form in maps.of.items():
        topic = cluster.topic(log)
        if has_begun(cluster, group, topic, partitions):
            continue
        sample = sample_records(cluster, topic, partitions, most=_SAMPLED)
        assert isinstance(own_form, DirectInput)
        if wrong := own_form.wrong_with([record.value for record in sample]):
            raise SettingsError(f"topic {topic}: {'; '.join(map(str, wrong))}")
        values, _ = own_form([record.value for record in sample])
        made = [(record, event_of(log, value)) for record, value in zip(sample, values, strict=True) if value]
        if made and not any(starmap(_is_keyed, made)):
            raise SettingsError(
                f"topic {topic}: no key of its newest {len(made):,} records is the impression_id that {OPTION} makes, "
                "so impressions and clicks do not meet in one partition; `clickfold worker ingest` reads topics with "
                "any keys"
            )


def _is_keyed(record: Record, event: object) -> bool:
    return not isinstance(event, Unreadable) and record.key == event.impression_id.encode()  # type: ignore[attr-defined]  # an event
