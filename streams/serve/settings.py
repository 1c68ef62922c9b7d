"""The settings of a serving process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster

# Shorter ones are guessed.
MIN_TOKEN_CHARS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """`model` and `shard` name the model that serves; `campaigns_token` is what clients must send to change campaigns.

    Raises SettingsError for values that cannot work.
    """

    cluster: Cluster
    host: str = "127.0.0.1"
    port: int = 8090
    model: str = "ctr"
    shard: int = 0
    campaigns_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.shard < 0:
            raise SettingsError(f"--shard is {self.shard}; give a partition of outcomes, from 0 on")
        if 0 < len(self.campaigns_token) < MIN_TOKEN_CHARS or not self.campaigns_token.isascii():
            raise SettingsError(
                f"CLICKFOLD_CAMPAIGNS_TOKEN has {len(self.campaigns_token)} characters; give {MIN_TOKEN_CHARS} or more "
                "of ASCII, such as `openssl rand -hex 16` writes"
            )
