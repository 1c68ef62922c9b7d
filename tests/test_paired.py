"""Challengers beside the model: differences of losses, their interval, and which windows count."""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from online_models.anytime import half_width
from online_models.learner import Learner
from online_models.metrics import normalised
from online_models.mixture.settings import MixtureSettings
from online_models.paired import Paired, paired
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.codec import decode
from schemas.errors import SettingsError
from schemas.models import ModelMetrics
from schemas.records import Out
from streams.cli.model_comparison import compared
from streams.cli.render.charts import Canvas
from streams.cli.render.models import charts, comparison_table, newest_windows, reliability_sums
from streams.cli.render.plots import write_png
from tests.models.traffic import outcomes, records
from tests.test_summary import text_of

SMALL = MixtureSettings(slot_bits=10, pair_bits=12)
SETTINGS = LearnerSettings(
    learns=ModelSettings(mixture=SMALL),
    challengers=(
        Challenger(name="same", mixture=SMALL),
        # It sees nothing but the hour.
        Challenger(name="blind", kind="ftrl", mixture=msgspec.structs.replace(SMALL, only=("hour",))),
    ),
    window_ms=60_000,
    grace_ms=30_000,
)


@functools.cache
def measured(count: int = 30_000) -> list[ModelMetrics]:
    ours = Learner(SETTINGS, shard=0)
    ours.lineup.begin({}, 0)
    outs: list[Out] = ours.step(records(outcomes(count, negative_rate=0.2, window_ms=120_000)))
    ours.finish()
    while ours.can_sweep():
        outs += ours.sweep(1_000)
    return [decode(out.value or b"", ModelMetrics) for out in outs]


def drawn(seed: int, count: int, *, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """Two predictions that are equally wrong but for `shift`, and labels and weights of sampled non-clicks."""
    random = np.random.default_rng(seed)
    truth = random.uniform(0.02, 0.3, count)
    labels = (random.random(count) < truth).astype(np.int8)
    own, other = (np.clip(truth * np.exp(random.normal(0.0, 0.3, count)), 1e-4, 0.9) for _ in range(2))
    own = own + shift * (truth - own)
    return own, other, labels, np.where(labels == 1, 1.0, 5.0)


def test_the_difference_and_its_variance_are_those_of_a_weighted_mean() -> None:
    own, other, labels, weights = drawn(1, 2_000)
    found = paired(own, other, labels=labels, weights=weights)
    loss = np.where(labels == 1, np.log(other / own), np.log((1 - other) / (1 - own)))
    mean = (weights * loss).sum() / weights.sum()
    assert found.difference == pytest.approx(mean)
    assert found.variance == pytest.approx((weights**2 * (loss - mean) ** 2).sum() / weights.sum() ** 2)
    assert found.interval()[1] - mean == pytest.approx(half_width(found.variance, 2_000))


def test_sums_of_parts_add_up_to_the_whole() -> None:
    own, other, labels, weights = drawn(2, 900)
    parts = [
        paired(own[part], other[part], labels=labels[part], weights=weights[part])
        for part in (slice(400), slice(400, 900))
    ]
    whole = paired(own, other, labels=labels, weights=weights)
    for name in whole.__struct_fields__:
        assert getattr(parts[0] + parts[1] + Paired(), name) == pytest.approx(getattr(whole, name))


def test_nothing_is_decided_of_nothing() -> None:
    assert Paired().interval() == (-math.inf, math.inf)
    assert Paired().p_value() == 1.0
    one = paired(np.array([0.5]), np.array([0.4]), labels=np.array([1], np.int8), weights=np.array([1.0]))
    assert one.interval() == (-math.inf, math.inf)


def test_of_equal_models_looked_at_each_hour_few_are_ever_decided_and_a_better_one_is_found() -> None:
    decided = found = 0
    for seed in range(60):
        for shift in (0.0, 0.5):
            own, other, labels, weights = drawn(seed, 12_000, shift=shift)
            sums, ever = Paired(), False
            for start in range(0, 12_000, 250):
                part = slice(start, start + 250)
                sums += paired(own[part], other[part], labels=labels[part], weights=weights[part])
                low, high = sums.interval()
                ever |= high < 0.0 or low > 0.0
            if shift:
                found += high < 0.0
            else:
                decided += ever
    assert decided <= 3
    assert found >= 50


def test_a_challenger_with_the_settings_of_the_model_differs_by_nothing_and_a_blind_one_is_worse() -> None:
    by_name = {each.challenger: each for each in compared(newest_windows(measured()))}
    assert by_name.keys() == {"ctr.same", "ctr.blind"}
    same, blind = by_name["ctr.same"], by_name["ctr.blind"]
    assert (same.sums.difference, same.verdict, same.sums.p_value()) == (0.0, "undecided", 1.0)
    assert (blind.against, blind.verdict) == ("ctr", "worse")
    # The difference of the mean losses, which are in the records too.
    own, main = ([each for each in newest_windows(measured()) if each.model == name] for name in ("ctr.blind", "ctr"))
    losses = [
        sum(each.log_loss * each.weight for each in part) / sum(each.weight for each in part) for part in (own, main)
    ]
    assert blind.sums.difference == pytest.approx(losses[0] - losses[1])
    assert "worse" in text_of([comparison_table([same, blind])])


def test_windows_of_former_settings_do_not_count() -> None:
    windows = newest_windows(measured())
    blind = [each for each in windows if each.model == "ctr.blind"]
    former = [msgspec.structs.replace(each, settings="former") for each in blind[:10]]
    other = [msgspec.structs.replace(each, against_settings="former") for each in blind[10:15]]
    (found,) = compared([*former, *other, *blind[15:]])
    assert found.windows == len(blind) - 15


def test_served_predictions_are_measured_beside_the_own_ones_of_the_same_outcomes() -> None:
    by_slice = {
        each.slice: each
        for each in measured()
        if each.model == "ctr" and each.window_start == measured()[0].window_start
    }
    served, beside, whole = by_slice["served"], by_slice["beside served"], by_slice["all"]
    # All outcomes came with a pctr of one half.
    assert served.log_loss == pytest.approx(math.log(2))
    assert (served.examples, beside.examples) == (whole.examples, whole.examples)
    assert beside.log_loss == whole.log_loss
    stream = [msgspec.structs.replace(each, pctr=None) for each in outcomes(3_000, window_ms=120_000)]
    ours = Learner(SETTINGS, shard=0)
    found = [decode(out.value or b"", ModelMetrics).slice for out in ours.step(records(stream))]
    assert found
    assert not {"served", "beside served"} & set(found)


def test_reliability_adds_up_to_all_and_is_drawn() -> None:
    windows = newest_windows(measured())
    sums = reliability_sums(windows)
    for model in ("ctr", "ctr.blind"):
        own = [value for (name, _), value in sums.items() if name == model]
        assert math.fsum(weight for weight, _, _ in own) == pytest.approx(
            math.fsum(each.weight for each in windows if each.model == model)
        )
    shown = text_of(charts(measured(), Canvas(100, 12, colours=False)))
    assert "Normalised entropy of each window" in shown
    assert "Reliability" in shown
    assert normalised(1.0, 0.0) is None


def test_a_png_is_drawn_of_the_same_windows(tmp_path: Path) -> None:
    path = tmp_path / "models.png"
    write_png(path, newest_windows(measured()))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SettingsError, match="no window is complete yet"):
        write_png(path, [])


def test_without_matplotlib_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SettingsError, match="install clickfold with the extra `plots`"):
        write_png(tmp_path / "models.png", newest_windows(measured()))
