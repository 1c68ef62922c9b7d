"""The settings of a serving process."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """`model` and `shard` name the model that serves. Raises SettingsError for values that cannot work."""

    cluster: Cluster
    host: str = "127.0.0.1"
    port: int = 8090
    model: str = "ctr"
    shard: int = 0

    def __post_init__(self) -> None:
        if self.shard < 0:
            raise SettingsError(f"--shard is {self.shard}; give a partition of outcomes, from 0 on")
