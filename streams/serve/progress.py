"""What a serving process has done, and what it knows; read from any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from dataclasses import dataclass, field

from streams.serve.decisions import Decisions
from streams.serve.models import Models


@dataclass(slots=True)
class Serving:
    """The follower writes models, decisions and their counts; the server writes those of requests."""

    models: Models
    decisions: Decisions = field(default_factory=Decisions)
    # Both topics were read to the ends they had.
    caught_up: bool = False
    recoveries: int = 0
    swaps: int = 0
    # Records that changed nothing, by role of their topic.
    refused: Counter[str] = field(default_factory=lambda: Counter(models=0, pacing=0))
    # By topic and partition: where another consumer goes on.
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    # By status of the answer.
    requests: Counter[str] = field(default_factory=Counter)
    candidates: int = 0
    # Of reading, predicting and writing the answers of calls, without the wait for a body.
    busy_s: float = 0.0
    running: int = 0
    # Open connections, as the server keeps them.
    connections: Sized = ()

    def ready(self) -> bool:
        """Whether calls have an answer."""
        return self.caught_up and self.models.served is not None
