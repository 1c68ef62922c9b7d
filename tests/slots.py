"""A slot as tests of other things need one."""

from streams.kafka.cluster import Cluster
from streams.kafka.slots import Slot


def slot_zero(cluster: Cluster, group: str, *, static: bool = True) -> Slot:
    """Slot 0 of the group."""
    return Slot(cluster, group=group, name="0", instance_id=f"{group}-0" if static else None)
