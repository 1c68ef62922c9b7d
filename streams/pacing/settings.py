"""The settings of a pacing worker, and its progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster
from streams.kafka.slots import Slot

if TYPE_CHECKING:
    from streams.pacing.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class PacingSettings:
    """Raises SettingsError for values that cannot work.

    `group` names the consumer group and the changelog. `data_dir` is a folder for the gate, and for Faust, which keeps
    nothing there that is needed; no two workers have the same. `web_port` serves the JSON view without protection,
    hence the loopback by default. The group keeps the partitions of a worker that was killed for `session_timeout_s`;
    one that comes back with the same `slot` (any name, one a worker; '' for none) has them at once. `window_s` is the
    attribution window of the join: so long clicks on what was shown may still be charged. Totals that are `blind_s`
    behind make decisions careful. An ad server goes by a new decision after at most `overlap_s`.
    """

    cluster: Cluster
    group: str
    data_dir: Path
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    tick_s: float = 1.0
    slot: str = ""
    session_timeout_s: float = 10.0
    window_s: int = 1_800
    blind_s: float = 60.0
    overlap_s: float = 12.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.session_timeout_s <= 60:
            raise SettingsError(f"session timeout is {self.session_timeout_s} s; give one from 0.5 to 60, such as 10")
        if self.window_s < 0:
            raise SettingsError(f"the window is {self.window_s} s; give that of the join")
        if not 0.01 <= self.tick_s <= 60:
            raise SettingsError(f"tick is {self.tick_s} s; give one from 0.01 to 60, such as 1")

    @property
    def instance_id(self) -> str:
        """What the group calls the member in this slot; empty without a slot."""
        return f"pace-{self.slot}" if self.slot else ""

    @property
    def watches_slot(self) -> bool:
        """Whether the group of pace sees who else has the slot: a client id of the user's says nothing about slots."""
        return bool(self.slot) and "client.id" not in self.cluster.passed

    def slot_in_group(self) -> Slot:
        """The worker's slot, to take and to ask about."""
        return Slot(self.cluster, group=self.group, name=self.slot, instance_id=self.instance_id or None)

    @property
    def law_window_s(self) -> int:
        """The window that the law reckons with, from a minute to a day: memory of each campaign grows with it."""
        return min(max(self.window_s, 60), 86_400)

    @property
    def changelog(self) -> str:
        """The topic that holds the state."""
        return changelog_topic(self.group)


def changelog_topic(group: str) -> str:
    """The topic that holds the state of a group's workers; Faust derives the same name."""
    return f"{group}-state-changelog"


@dataclass(slots=True)
class PacingProgress:
    """How far a worker is; written by the worker, read from any thread."""

    # State is read back, and records are about to be read.
    ready: bool = False
    # Rounds of counting and deciding that Kafka has acknowledged.
    ticks: int = 0
    # New tries after faults of Kafka.
    recoveries: int = 0
    # When Kafka last answered a sign of life of this member of the group; monotonic.
    answered_s: float = 0.0
    # Of the app that runs now; None before it runs.
    views: Views | None = None
