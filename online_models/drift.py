"""Whether clicks have left what the model predicts: Page's cumulative sum over the windows' surprise.

The surprise of a window is (clicks - predicted) / sqrt(predicted): about standard normal while predictions hold, for
clicks are rare and so nearly Poisson. An online learner corrects itself, so a lasting sum says it cannot keep up: a
broken feature, a changed click rate, or clicks that stopped arriving.

E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954). River's ADWIN was left: it would bring 117 MB to
watch one number, and its threshold has no unit.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, Literal

import msgspec

# Half of the lasting shift worth seeing, in standard deviations of a window; and the sum that raises the signal. At
# these a quiet model is alarmed once in about 9,500 windows (99 days of 15 minutes), a shift of one deviation is seen
# after about 17 windows and one of three after 4 (Siegmund's approximation of the average run length).
SLACK: Final = 0.5
THRESHOLD: Final = 8.0

Direction = Literal["none", "more_clicks", "fewer_clicks"]


class DriftState(msgspec.Struct, frozen=True):
    """The two sums: evidence for more clicks than predicted, and for fewer; both at least 0."""

    more: float = 0.0
    fewer: float = 0.0

    @property
    def direction(self) -> Direction:
        """Where clicks have drifted to, by the larger sum above the threshold."""
        if max(self.more, self.fewer) < THRESHOLD:
            return "none"
        return "more_clicks" if self.more >= self.fewer else "fewer_clicks"

    def after(self, *, clicks: float, predicted_clicks: float) -> DriftState:
        """The state after one more window. Windows predicted to hold less than one click are passed over."""
        if predicted_clicks < 1.0:
            return self
        surprise = (clicks - predicted_clicks) / sqrt(predicted_clicks)
        return DriftState(more=max(0.0, self.more + surprise - SLACK), fewer=max(0.0, self.fewer - surprise - SLACK))
