"""Files on their way to Kafka: what is sent, what is not, and how far it got."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from schemas.errors import ClickfoldError, SettingsError, Transient
from schemas.events import Campaign
from streams.inputs.feed import Feed
from streams.inputs.sendable import Sendable
from streams.inputs.tally import fault
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster

# The options that pass over what was sent.
_SKIP: Final = {"impressions": "--skip-impressions", "clicks": "--skip-clicks"}


class Interrupted(Exception):
    """Raised by the handler of a signal while files are read, where it loses nothing."""


class Production:
    """Sends both logs, either or none, and campaigns. `begin` is the first offset of each log that is sent.

    Raises SettingsError when a topic does not exist, Transient when Kafka does not answer.
    """

    def __init__(
        self,
        cluster: Cluster,
        logs: Mapping[str, Sendable],
        campaigns: Sequence[Campaign],
        *,
        speed: float | None,
        begin: Mapping[str, int],
    ) -> None:
        self._cluster = cluster
        self._logs = logs
        self._campaigns = campaigns
        records = {log: each.records() for log, each in logs.items()}
        self._feed = Feed(
            cluster, records.get("impressions", ()), records.get("clicks", ()), campaigns, speed=speed, begin=begin
        )
        self._lost_kafka = False
        admin = Admin(cluster)
        if logs:
            admin.check(tuple(logs), ("campaigns",) if campaigns else ())
        else:
            admin.require(("campaigns",))

    @property
    def is_reading(self) -> bool:
        """Whether files are read at this moment, so that `Interrupted` may be raised."""
        return self._feed.is_reading

    @property
    def is_done(self) -> bool:
        """Whether Kafka has all records."""
        return self._feed.progress.done

    def run(self, stop: threading.Event, each_step: Callable[[], None]) -> ClickfoldError | None:
        """Sends all records, or until it is stopped; returns why it could not go on.

        Raises SettingsError, before anything is sent, when files hold no such records.
        """
        try:
            self._feed.run(stop, each_step)
        except Interrupted:
            self._feed.flush()
        except Transient as error:
            self._lost_kafka = True
            return error
        except SettingsError as error:
            if not self._feed.has_begun:
                raise
            return error
        return None

    def faults(self) -> list[str]:
        """Why what was sent is of no use; none when it is."""
        return [
            sentence
            for log, each in self._logs.items()
            for sentence in fault(
                log, consumed=self._sent(log) + each.refused, accepted=self._sent(log), bad=each.refused
            )
        ]

    def lines(self) -> Iterator[str]:
        """What was sent and refused, for a person, and how to go on if it did not end."""
        for log, each in self._logs.items():
            yield f"{log}: {self._sent(log):,} sent to {self._cluster.topic(log)}, {each.refused:,} refused"
            yield from each.refusals()
        if self._campaigns:
            yield f"campaigns: {len(self._campaigns):,} sent to {self._cluster.topic('campaigns')}"
        reached_ms = self._feed.progress.event_ms
        if reached_ms:
            reached = datetime.fromtimestamp(reached_ms / 1_000, UTC).isoformat(timespec="seconds")
            yield f"event time reached: {reached.replace('+00:00', 'Z')}"
        if not self.is_done:
            yield self._rest()

    def figures(self) -> dict[str, Any]:
        """The same as one object of JSON. `next` is what `--skip-…` takes to go on."""
        logs = {
            log: {"sent": self._sent(log), "refused": each.refused, "next": self._next(log)}
            for log, each in self._logs.items()
        }
        progress = self._feed.progress
        return {**logs, "campaigns": len(self._campaigns), "event_ms": progress.event_ms, "done": progress.done}

    def _rest(self) -> str:
        options = " ".join(f"{_SKIP[log]} {self._next(log)}" for log in self._logs)
        if self._lost_kafka:
            return (
                f"not all were sent: the same command with {options} sends all that Kafka may lack; what it then has "
                "twice the join drops as duplicates"
            )
        return f"not all were sent: the same command with {options} sends the rest, and nothing twice"

    def _sent(self, log: str) -> int:
        return int(getattr(self._feed.progress, log))

    def _next(self, log: str) -> int:
        return (self._feed.in_kafka_to if self._lost_kafka else self._feed.sent_to)[log]
