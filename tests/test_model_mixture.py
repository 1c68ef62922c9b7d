"""The mixture: exact for any batches and compiled or not, calibrated, and never learning a label before it is due."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from online_models.mixture.crosses import EPOCH
from online_models.mixture.examples import Example
from online_models.mixture.hashing import mixed
from online_models.mixture.layout import FIELDS
from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.settings import MixtureSettings
from online_models.progressive import measures
from schemas.errors import DamagedState, StateMismatch
from tests.models.clicks import examples, rows_of

ROOT = Path(__file__).parent.parent
SMALL = MixtureSettings(slot_bits=12, pair_bits=14)


def rows(found: list[Example], known: Fields | None = None) -> Rows:
    return rows_of(found, known or Fields())


def learned(
    found: list[Example], *, batch: int, delay_ms: int = 0, plain: bool = False, **changed: Any
) -> tuple[np.ndarray, str]:
    """All predictions, and the digest at the end."""
    settings = msgspec.structs.replace(SMALL, delay_ms=delay_ms, **changed)
    model = Ftrl(settings) if plain else Mixture(settings)
    parts = [model.run(rows(found[start : start + batch], model.known)) for start in range(0, len(found), batch)]
    return np.concatenate(parts), model.digest()


both = pytest.mark.parametrize("plain", [False, True], ids=["mixture", "ftrl"])


@both
@pytest.mark.parametrize("delay_ms", [0, 5_000, 400_000])
def test_any_batches_give_the_same_predictions_and_the_same_state(delay_ms: int, plain: bool) -> None:
    found = examples(2_300)
    whole, digest = learned(found, batch=len(found), delay_ms=delay_ms, plain=plain)
    for batch in (1, 137, 1_000):
        predicted, same = learned(found, batch=batch, delay_ms=delay_ms, plain=plain)
        assert np.array_equal(predicted, whole)
        assert same == digest


@pytest.mark.parametrize("delay_ms", [0, 5_000])
def test_a_batch_that_ends_where_pairs_are_chosen_changes_nothing(delay_ms: int) -> None:
    # The rows around it are located by another list of pairs: 2 and 16 on trial of the 28 there are.
    found = examples(EPOCH + 50)
    run = partial(learned, found, delay_ms=delay_ms, kept=2, kept_early=2)
    whole, digest = run(batch=len(found))
    for batch in (EPOCH, 7):
        predicted, same = run(batch=batch)
        assert np.array_equal(predicted, whole)
        assert same == digest


@pytest.mark.parametrize("delay_ms", [0, 60_000])
def test_a_restored_mixture_goes_on_as_the_one_it_was_taken_from(delay_ms: int) -> None:
    found = examples(1_500)
    first, second = (Mixture(msgspec.structs.replace(SMALL, delay_ms=delay_ms)) for _ in range(2))
    first.run(rows(found[:900], first.known))
    second.run(rows(found[900:], second.known))  # what it has learned is replaced
    second.restore(first.snapshot())
    assert second.digest() == first.digest()
    assert second.snapshot() == first.snapshot()
    ours, theirs = (model.run(rows(found[900:], model.known)) for model in (first, second))
    assert np.array_equal(ours, theirs)
    assert second.digest() == first.digest()


def test_a_snapshot_that_is_damaged_or_of_other_settings_is_refused() -> None:
    model = Mixture(SMALL)
    model.run(rows(examples(20), model.known))
    kept = model.snapshot()
    with pytest.raises(DamagedState, match="checksum"):
        Mixture(SMALL).restore(kept[:-17] + bytes([kept[-17] ^ 1]) + kept[-16:])
    with pytest.raises(StateMismatch, match="delay_ms 0, this one has 5"):
        Mixture(msgspec.structs.replace(SMALL, delay_ms=5)).restore(kept)
    with pytest.raises(StateMismatch, match="format 2"):
        Mixture(SMALL).restore(kept[:8] + (2).to_bytes(4, "little") + kept[12:])


UNCOMPILED = """
import numpy as np
from tests.models.clicks import examples
from tests.test_model_mixture import learned
with np.errstate(over="ignore"):
    print(learned(examples(300, negative_weight=3.0), batch=100, delay_ms={delay_ms}, plain={plain}, **{changed})[1])
"""


@pytest.mark.parametrize(
    ("delay_ms", "plain", "changed"),
    [
        (0, False, {}),
        (20_000, False, {}),
        (0, True, {}),
        (20_000, True, {}),
        (0, False, {"bayes": False, "counts": False, "kept": 0}),
        (0, False, {"ftrl": False, "adagrad": False, "novelty": False}),
    ],
    ids=["mixture", "mixture late", "ftrl", "ftrl late", "some experts", "other experts"],
)
def test_the_same_source_uncompiled_agrees_to_the_bit(delay_ms: int, plain: bool, changed: dict[str, Any]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", UNCOMPILED.format(delay_ms=delay_ms, plain=plain, changed=changed)],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = examples(300, negative_weight=3.0)
    assert ended.stdout.split() == [learned(found, batch=100, delay_ms=delay_ms, plain=plain, **changed)[1]]


WIDE = """
import msgspec, numpy as np
from tests.models.clicks import examples
from tests.test_model_mixture import learned
wide = {{f"f{{number}}": "x" for number in range({fields})}}
with np.errstate(over="ignore"):
    learned([msgspec.structs.replace(each, features=wide) for each in examples(4)], batch=4)
"""


def test_rows_of_as_many_fields_as_a_model_has_stay_within_the_arrays_of_the_kernel() -> None:
    # Without the compiler each index is checked.
    subprocess.run(
        [sys.executable, "-c", WIDE.format(fields=FIELDS)],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        check=True,
    )


def test_a_row_is_learned_just_when_its_delay_has_passed() -> None:
    # The second row of each pair is shown the delay after the first one: it sees that label, one ms less does not.
    first, second = examples(2)
    assert first.ts is not None
    predicted = {}
    for label in (0, 1):
        for passed_ms in (9_999, 10_000):
            pair = [
                msgspec.structs.replace(first, label=label),
                msgspec.structs.replace(second, ts=first.ts + passed_ms),
            ]
            predicted[label, passed_ms] = learned(pair, batch=2, delay_ms=10_000)[0][1]
    assert predicted[0, 9_999] == predicted[1, 9_999]
    assert predicted[0, 10_000] < predicted[1, 10_000]


def test_nothing_known_is_predicted_at_the_base_rate() -> None:
    assert learned(examples(1), batch=1)[0][0] == pytest.approx(0.15)


@pytest.mark.parametrize("rate_log_odds", [-4.5, -1.5, 0.0])
@pytest.mark.parametrize("negative_weight", [1.0, 10.0])
def test_predictions_are_calibrated_and_better_than_the_base_rate(rate_log_odds: float, negative_weight: float) -> None:
    found = examples(6_000, rate_log_odds=rate_log_odds, negative_weight=negative_weight)
    batch = rows(found)
    predicted = Mixture(SMALL).run(batch)
    of = measures(predicted, batch.labels, batch.weights)
    assert of.ne is not None
    assert of.ne < 0.985
    assert of.calibration == pytest.approx(1.0, abs=0.1)


def test_shares_of_opinions_add_up_to_one() -> None:
    model = Mixture(SMALL)
    assert set(model.shares().values()) == {0.0}
    model.run(rows(examples(50)))
    assert sum(model.shares().values()) == pytest.approx(1.0)


def test_fields_beyond_the_last_number_share_it() -> None:
    known = Fields()
    numbers = [known.number(name) for name in range(1, 200)]
    assert numbers[:3] == [6, 7, 8]
    assert set(numbers[FIELDS - 7 :]) == {FIELDS - 1}
    assert known.number(1) == 6


def test_a_number_whose_square_is_zero_is_learned() -> None:
    model = Mixture(SMALL)
    predicted = model.run(rows([Example("click", "i", ts=1, label=1, features={"n": 1.5e-273})], model.known))
    assert 0.0 < predicted[0] < 1.0
    assert len(model.run(rows(examples(2), model.known))) == 2


def test_entries_that_share_a_line_each_add_to_what_was_there_before_the_row() -> None:
    model, found = Ftrl(msgspec.structs.replace(SMALL, slot_bits=8)), examples(300, negative_weight=3.0)
    given = rows(found, model.known)
    shown, clicked, shared = 2.0, 2.0 * 0.15, 0
    z, n = np.zeros(257), np.zeros(257)
    predicted = model.run(given)
    for row, (first, last) in enumerate(itertools.pairwise(given.start)):
        lines = [256, *(int(mixed(key)) & 255 for key in given.keys[first:last])]
        shared += len(set(lines)) < len(lines)
        x = np.array([1.0, *given.values[first:last]])
        root = np.sqrt(n[lines])
        log_odds = math.log(clicked / (shown - clicked)) - (z[lines] * 0.1 / (1.0 + root) * x).sum()
        assert predicted[row] == pytest.approx(1.0 / (1.0 + math.exp(-log_odds)), rel=1e-12)
        weight, label = given.weights[row], given.labels[row]
        gradient = (predicted[row] - label) * x
        square = weight * gradient * gradient
        shift = (np.sqrt(n[lines] + square) - root) / (1.0 + root)
        np.add.at(z, lines, weight * gradient + shift * z[lines])
        np.add.at(n, lines, square)
        shown, clicked = shown + weight, clicked + label * weight
    assert shared > 10
