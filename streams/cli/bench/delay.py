"""`clickfold bench delay`: what each policy for late labels costs, on a stream whose truth is known."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import numpy as np
import orjson
import typer
from numpy.typing import NDArray

from online_models.mixture.model import Mixture
from online_models.mixture.settings import MixtureSettings
from online_models.open_impressions import SHOWN, Followed, OpenImpressions, Policy
from online_models.policies import LateLabels
from schemas.compiled import load_kernels
from schemas.totals import HOUR_MS
from streams.cli.bench.delayed_stream import WINDOW_MS, Stream, stream
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.commands import options

_BATCH: Final = 20_000
_EARLY_MS: Final = 2 * HOUR_MS
_FOLLOWED: Final[tuple[Policy, ...]] = ("fake_negative", "reversal", "matched")
_NO_DELAY: Final = "no delay"
# Excess over the truth is in thousandths of normalised entropy.
_MEASURES: Final = ("early", "later", "hour_after_shift", "early_calibration", "calibration", "reversed")


def delay(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions of a stream.")] = 1_000_000,
    hours: Annotated[int, typer.Option(min=6, help="How long it is; half-way click rates shift.")] = 24,
    seeds: Annotated[int, typer.Option(min=1, help="Streams to take the mean of; each takes a minute.")] = 3,
    negative_rate: Annotated[float, typer.Option(min=0.001, max=1.0, help="As that of the join.")] = 1.0,
    ahead: Annotated[
        str,
        typer.Option(
            help="Impressions that a join reads before it reads the clicks of their time, as one that catches up does; "
            "0s: all is in order of time."
        ),
    ] = "0s",
    ahead_hours: Annotated[
        int | None, typer.Option(min=1, help="Hours until it has caught up.", show_default="all of --hours")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Learn a made-up stream under each policy for late labels; compare with labels that are known at once.

    The stream has known click rates and delays. Excess is normalised entropy above that of the truth, in thousandths,
    in the first two hours and after them.
    """
    say = print_nothing if json else print_progress
    turn_ms = options.duration_ms("--ahead", ahead)
    turns_ms = HOUR_MS * (hours if ahead_hours is None else min(ahead_hours, hours))
    load_kernels()
    measured: dict[str, list[dict[str, float]]] = {}
    for seed in range(1, seeds + 1):
        made = stream(seed, impressions=impressions, hours=hours)
        sampled = np.random.default_rng(-seed % 2**32).random(impressions) < negative_rate
        log = _log(made, sampled, turn_ms, made.start_ms + turns_ms)
        for name, (predicted, reversed_) in _predictions(made, sampled, 1.0 / negative_rate, log):
            found = {**_measures(made, predicted, sampled), "reversed": float(reversed_)}
            measured.setdefault(name, []).append(found)
            say(f"seed {seed}, {name}: " + ", ".join(f"{key} {value:,.3f}" for key, value in found.items()))
    means = {
        name: {key: statistics.fmean(each[key] for each in values) for key in _MEASURES}
        for name, values in measured.items()
    }
    for figures in means.values():
        for key in ("early", "later"):
            figures[f"{key}_ratio"] = figures[key] / means[_NO_DELAY][key]
    if json:
        given = {"impressions": impressions, "hours": hours, "seeds": seeds, "negative_rate": negative_rate}
        given |= {"ahead_ms": turn_ms, "ahead_hours": turns_ms // HOUR_MS if turn_ms else 0}
        typer.echo(orjson.dumps({**given, "policies": means}))
        return
    for line in _lines(means):
        typer.echo(line)


def _log(made: Stream, sampled: NDArray[np.bool_], turn_ms: int, until_ms: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The records of the join: numbers of impressions, and labels, -1 for one that was shown.

    Of sampled impressions it has that they were shown, and all labels of these and of clicks. Up to a time the join
    reads impressions in turns of `turn_ms`, and the clicks of that time after each.
    """
    shown, labelled = np.flatnonzero(sampled), np.flatnonzero(sampled | made.clicked)
    numbers = np.concatenate((shown, labelled))
    labels = np.concatenate((np.full(len(shown), -1), made.clicked[labelled])).astype(np.int8)
    times = np.concatenate((made.rows.ts[shown], made.rows.ts[labelled] + made.delays_ms[labelled]))
    turns = times if turn_ms == 0 else np.where(times < until_ms, times // turn_ms * turn_ms, times)
    order = np.lexsort((times, labels >= 0, turns))
    return numbers[order], labels[order]


def _predictions(
    made: Stream, sampled: NDArray[np.bool_], weight: float, log: tuple[NDArray[Any], NDArray[Any]]
) -> Iterator[tuple[str, tuple[NDArray[np.float64], int]]]:
    """Of each policy, what it predicts of sampled impressions when they are shown, and how many negatives it reverses.

    With `wait` all labels are learned one window late.
    """
    known = np.flatnonzero(sampled | made.clicked)
    rows = made.rows.ordered(known)
    rows.weights[:] = np.where(made.clicked[known], 1.0, weight)
    for name, delay_ms in ((_NO_DELAY, 0), ("wait", WINDOW_MS)):
        predicted = np.full(len(sampled), np.nan)
        predicted[known] = Mixture(MixtureSettings(delay_ms=delay_ms)).run(rows)
        yield name, (predicted, 0)
    for policy in _FOLLOWED:
        yield policy, _followed(made, weight, policy, *log)


def _followed(
    made: Stream, weight: float, policy: Policy, numbers: NDArray[Any], labels: NDArray[Any]
) -> tuple[NDArray[np.float64], int]:
    count = len(made.rows)
    ids = np.random.default_rng(count).integers(0, 2**64, count, np.uint64)
    open_, late, latest_ms = OpenImpressions(policy), LateLabels(Mixture(), policy), 0
    predicted, reversed_ = np.full(count, np.nan), 0
    for start in range(0, len(numbers), _BATCH):
        part = numbers[start : start + _BATCH]
        rows = made.rows.ordered(part)
        rows.labels[:] = labels[start : start + _BATCH]
        clicked = rows.labels == 1
        rows.weights[:] = np.where(clicked, 1.0, weight)
        delays_ms = np.where(clicked, made.delays_ms[part], 0)
        columns = (ids[part], rows.ts, rows.labels, rows.weights, np.zeros_like(part), delays_ms)
        events, latest_ms = open_.follow(Followed(*(each.tolist() for each in columns)), latest_ms=latest_ms)
        found, more = late.run(events, rows)
        first = events.whats == SHOWN
        predicted[part[events.records[first]]] = found[first]
        reversed_ += more
    return predicted, reversed_


def _measures(made: Stream, predicted: NDArray[np.float64], sampled: NDArray[np.bool_]) -> dict[str, float]:
    passed_ms = made.rows.ts - made.start_ms
    early, late = sampled & (passed_ms < _EARLY_MS), sampled & (passed_ms >= _EARLY_MS)
    after = made.rows.ts - made.half_ms
    return {
        "early": _excess(predicted, made.chances, early),
        "later": _excess(predicted, made.chances, late),
        "hour_after_shift": _excess(predicted, made.chances, sampled & (after >= 0) & (after < HOUR_MS)),
        "early_calibration": float(predicted[early].sum() / made.chances[early].sum()),
        "calibration": float(predicted[late].sum() / made.chances[late].sum()),
    }


def _excess(predicted: NDArray[np.float64], chances: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    """Expected log loss above that of the truth, by the entropy of the mean chance, in thousandths."""
    p, q = chances[chosen], predicted[chosen]
    rate = p.mean()
    entropy = -(rate * np.log(rate) + (1.0 - rate) * np.log(1.0 - rate))
    return float(1e3 * np.mean(p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))) / entropy)


def _lines(means: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    heads: dict[str, Any] = {
        "early": "first 2 h", "early_ratio": "ratio", "early_calibration": "calibration", "later": "after 2 h",
        "later_ratio": "ratio", "calibration": "calibration", "hour_after_shift": "hour after shift",
        "reversed": "reversed",
    }  # fmt: skip
    yield f"{'excess NE, thousandths':<24}" + "".join(f"{head:>18}" for head in heads.values())
    for name, figures in means.items():
        yield f"{name:<24}" + "".join(f"{figures[key]:>18,.3f}" for key in heads)
