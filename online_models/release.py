"""Whether a model may be published: it is due, it has learned, and nothing is wrong with it.

Published bytes are bounded by what was read: a version is due only once the outcomes read since the last one are as
long as that one was. So for each model `ads.models` grows at most as fast as `ads.outcomes`, and by one version more at
each start, whatever the size of a model and however fast a learner catches up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from online_models.metrics import Scores, normalised
from schemas.topics import DAY_MS

# Why a model is held back.
Held = Literal["", "not_finite", "weights", "calibration", "frozen"]
HELD: Final[tuple[Held, ...]] = ("not_finite", "weights", "calibration", "frozen")
CALIBRATED: Final = (0.5, 2.0)
# With fewer clicks and predicted clicks together, a day of chance alone reaches those bounds.
LEAST_CLICKS: Final = 30.0

# Records of which none is learned before a model counts as frozen.
STARVED: Final = 10_000


class Recent(msgspec.Struct, frozen=True):
    """The sums of one closed window: weight, clicks, predicted clicks, and log loss times weight."""

    start_ms: int
    weight: float
    clicks: float
    predicted: float
    loss: float

    @classmethod
    def of(cls, start_ms: int, scores: Scores) -> Recent:
        """Those of a window's figures."""
        return cls(start_ms, scores.weight, scores.clicks, scores.predicted_clicks, scores.log_loss * scores.weight)


def last_day(recent: Sequence[Recent], added: Recent) -> list[Recent]:
    """The windows of the day that ends with the added one, which may be of an earlier time."""
    found = [*recent, added]
    newest_ms = max(each.start_ms for each in found)
    return [each for each in found if each.start_ms > newest_ms - DAY_MS]


def measured(recent: Sequence[Recent]) -> dict[str, float | None]:
    """The measures of a manifest, over these windows."""
    weight, clicks = sum(each.weight for each in recent), sum(each.clicks for each in recent)
    predicted, loss = sum(each.predicted for each in recent), sum(each.loss for each in recent)
    log_loss = loss / weight if weight else None
    return {
        "weight": weight,
        "clicks": clicks,
        "log_loss": log_loss,
        "ne": normalised(log_loss, clicks / weight) if log_loss is not None else None,
        "calibration": predicted / clicks if clicks else None,
    }


def miscalibrated(recent: Sequence[Recent]) -> bool:
    """Whether predicted clicks were less than half or more than twice the clicks, over the last day of windows."""
    clicks, predicted = sum(each.clicks for each in recent), sum(each.predicted for each in recent)
    least, most = CALIBRATED
    return clicks + predicted >= LEAST_CLICKS and not least * clicks <= predicted <= most * clicks


class Publisher:
    """When one model was published last, how large it was, and why it is held back; not part of the state."""

    def __init__(self) -> None:
        self.held: Held = ""
        self.published = 0
        self.event_ms = 0
        self._offset = -1
        self._ended = False
        self._digest = ""
        self._sent_learned = 0
        self._bytes = 0
        self._read = 0
        self._learned = self._consumed = 0

    def starve(self, *, consumed: int, learned: int) -> None:
        """Holds the model back once it learned nothing of many records."""
        if learned > self._learned:
            self._learned, self._consumed = learned, consumed
        elif consumed - self._consumed >= STARVED:
            self.held = "frozen"

    def read(self, length: int) -> None:
        """So many bytes of outcomes were read."""
        self._read += length

    def is_due(self, *, offset: int, event_ms: int, publish_ms: int, ended: bool) -> bool:
        """Whether a version would be new, and it is time."""
        if ended:
            return not self._ended
        return offset > self._offset and event_ms - self.event_ms >= publish_ms and self._read >= self._bytes

    def judge(self, digest: str, *, learned: int, fault: Held, recent: Sequence[Recent]) -> bool:
        """Whether a model with this digest, of so many rows, may go out. If something is wrong, `held` says what."""
        if digest == self._digest and learned == self._sent_learned:
            return False
        if not fault and miscalibrated(recent):
            fault = "calibration"
        self.held = fault or ("frozen" if digest == self._digest else "")
        return not self.held

    def tried(self, *, offset: int, event_ms: int, ended: bool = False) -> None:
        """A version was judged: the next one is due after the same time, and none once the log has ended."""
        self._offset, self.event_ms, self._ended = offset, event_ms, ended

    def sent(self, digest: str, *, learned: int, length: int) -> None:
        """A version of so many rows was sent, with so many bytes."""
        self._digest, self._sent_learned, self._bytes, self._read = digest, learned, length, 0
        self.published += 1
