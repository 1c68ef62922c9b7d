"""What runs over one file have shown, as figures, differences in points, and what was to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from online_models.progressive import measures
from tests.learning.vw import DEFAULT, Ran

MODELS: Final = ("mixture", "ftrl", "vw default", "vw best")
# A point is a hundredth of normalised entropy.
POINT: Final = 0.01
_DAY_MS: Final = 86_400_000
SHORT_DELAY, LONG_DELAY = "5m", "30m"


def delay_of(span_ms: int) -> str:
    """How late labels come in the second run: less for a log shorter than a day."""
    return SHORT_DELAY if span_ms < _DAY_MS else LONG_DELAY


def figures(predicted: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, seconds: float) -> dict[str, Any]:
    """NE of all rows and of the second half, calibration, and rows a second."""
    half = len(labels) // 2
    whole, second = measures(predicted, labels, weights), measures(predicted[half:], labels[half:], weights[half:])
    return {
        "ne": whole.ne,
        "ne_second_half": second.ne,
        "calibration": whole.calibration,
        "rows_per_s": len(labels) / seconds,
    }


def of_vw(ran: Mapping[str, Ran], labels: np.ndarray, weights: np.ndarray) -> dict[str, dict[str, Any]]:
    """The figures of the default and of the setting with the lowest NE of all rows, chosen afterwards."""
    scored = {name: figures(each.predicted, labels, weights, seconds=each.seconds) for name, each in ran.items()}
    best = min(scored, key=lambda name: float(scored[name]["ne"]))
    return {"vw default": scored[DEFAULT], "vw best": {**scored[best], "setting": best}}


def points_below(ours: Mapping[str, Any], theirs: Mapping[str, Any], key: str = "ne") -> float:
    """By how many points ours is lower, so better."""
    return (float(theirs[key]) - float(ours[key])) / POINT


def reached(at_once: Sequence[Mapping[str, Any]], late: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mixture beside the best setting: mean and worst points, calibration, and the same with late labels."""
    below = [points_below(each["mixture"], each["vw best"]) for each in at_once]
    calibrations = [float(each["mixture"]["calibration"]) for each in at_once]
    return {
        "mean_points_below_best": statistics.fmean(below),
        "least_points_below_best": min(below),
        "calibration": [min(calibrations), max(calibrations)],
        "late_least_points_below_best": min(points_below(each["mixture"], each["vw best"]) for each in late),
        "late_second_half_least_points_below_best": min(
            points_below(each["mixture"], each["vw best"], "ne_second_half") for each in late
        ),
    }
