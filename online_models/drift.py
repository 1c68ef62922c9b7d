"""Whether clicks differ from what the model predicts, by Page's cumulative sum of the surprise of each window.

The surprise of a window is (clicks - predicted) / sqrt(predicted). While predictions are right it is about standard
normal, because clicks are rare and so nearly Poisson. An online learner corrects itself, so a sum that stays high says
that it cannot keep up: a feature is broken, the click rate keeps changing, or clicks have stopped arriving.

E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954). River's ADWIN was not taken. Its window is a compiled
object that can only be pickled, and a learner's state is plain numbers; here it is two of them. It also looks at the
loss, which rises and falls with the rate of clicks while predictions are right, and it would load 117 MB.
"""

from __future__ import annotations

from math import sqrt
from typing import Final, Literal

import msgspec

# In standard deviations of a window: SLACK is half of the smallest lasting shift worth an alarm, THRESHOLD the sum that
# raises it. With these, a model without drift raises a false alarm once in about 9,500 windows (99 days of 15 minutes),
# a shift of one deviation is noticed after about 17 windows and one of three after 4 (Siegmund's approximation of the
# average run length).
SLACK: Final = 0.5
THRESHOLD: Final = 8.0

Direction = Literal["none", "more_clicks", "fewer_clicks"]


class DriftState(msgspec.Struct, frozen=True):
    """The two sums: evidence for more clicks than predicted, and for fewer; both at least 0."""

    more: float = 0.0
    fewer: float = 0.0

    @property
    def direction(self) -> Direction:
        """The direction of the larger sum; 'none' while both are below the threshold."""
        if max(self.more, self.fewer) < THRESHOLD:
            return "none"
        return "more_clicks" if self.more >= self.fewer else "fewer_clicks"

    def after(self, *, clicks: float, predicted_clicks: float) -> DriftState:
        """The state after one more window. A window with less than one predicted click changes nothing."""
        if predicted_clicks < 1.0:
            return self
        surprise = (clicks - predicted_clicks) / sqrt(predicted_clicks)
        return DriftState(more=max(0.0, self.more + surprise - SLACK), fewer=max(0.0, self.fewer - surprise - SLACK))
