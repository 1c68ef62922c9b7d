"""The kernel: shows each row to all experts, predicts, and learns it at once or when its label is due."""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.adagrad import learn_adagrad, predict_adagrad
from online_models.mixture.counts import BIAS_RATE, count_inputs, learn_counts
from online_models.mixture.entries import expand
from online_models.mixture.hashing import probability
from online_models.mixture.layout import (
    ADA_INPUT,
    BIAS,
    BIAS_GRADIENT,
    CLICKS,
    ENTRIES,
    FTRL_INPUT,
    INPUTS,
    LEARNED,
    MAIN_INPUT,
    MOST_CROSSES,
    NOVELTY_INPUT,
    NUMBERS,
    PAIR_INPUT,
    PRIORS,
    ROW_PAIRS,
    ROW_SLOTS,
    ROW_WEIGHT,
    SERVED_INPUTS,
    SQUARES,
    WEIGHT,
    WEIGHTS,
    WITH_ADAGRAD,
    WITH_BAYES,
    WITH_COUNTS,
    WITH_FTRL,
    WITH_NOVELTY,
)
from online_models.mixture.linear import learn_linear, predict_linear
from online_models.mixture.mixing import learn_shares, learn_stacks, predict_mixture
from online_models.mixture.pairs import EPOCH, choose_crosses, learn_pairs, pair_inputs
from schemas.compiled import INT64, kernel, read, written

# The cursor: the row that is learned next, the row that is shown next, and the end of the rows.
OLD, NEW, END = 0, 1, 2


@kernel(
    *(read("i8"), read("u8"), read("f8"), read("u1"), read("i8"), read("i1"), read("f8"), read("i8")),
    *(written("u1"), written("f8", 2), written("f8")),
    *(written("f8", 2), written("f8", 2), written("f8", 2), written("f8", 2), written("u1"), written("f8")),
    *(written("f8", 2), written("f8", 3), read("i8"), written("i8"), INT64),
)
def step(
    start: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    ts: np.ndarray,
    seen: np.ndarray,
    served: np.ndarray,
    predicted: np.ndarray,
    slots: np.ndarray,
    pairs: np.ndarray,
    fields: np.ndarray,
    crosses: np.ndarray,
    choices: np.ndarray,
    totals: np.ndarray,
    stacks: np.ndarray,
    spreads: np.ndarray,
    options: np.ndarray,
    cursor: np.ndarray,
    delay: int,
) -> None:
    """Fills `predicted`, `served` and `seen` of all rows from `cursor[NEW]`, and learns those that are due.

    A row is due at once if `delay` is 0, else when a row is shown whose ts is at least `delay` later. The slots of row
    i are `start[i]` to `start[i + 1]`, in the order of their fields. Moves the cursor.
    """
    entry_at, entry_x = np.empty(ENTRIES + ROW_SLOTS + 1, np.int64), np.empty(ENTRIES + ROW_SLOTS + 1)
    category_at, category_field = np.empty(ROW_SLOTS, np.int64), np.empty(ROW_SLOTS, np.int64)
    category_key = np.empty(ROW_SLOTS, np.uint64)
    odds, count_delta, novelty_delta = np.empty(ROW_SLOTS), np.empty(ROW_SLOTS), np.empty(ROW_SLOTS)
    pair_at, pair_cross = np.empty(ROW_PAIRS, np.int64), np.empty(ROW_PAIRS, np.int64)
    pair_odds, pair_delta = np.empty(ROW_PAIRS), np.empty(ROW_PAIRS)
    sizes, sums = np.empty(4, np.int64), np.empty(3)
    margins, variances, inputs, moved = np.empty(PRIORS + 1), np.empty(PRIORS), np.zeros(INPUTS), np.empty(WEIGHTS)
    bayes, ftrl = options[WITH_BAYES] != 0, options[WITH_FTRL] != 0
    while cursor[NEW] < cursor[END]:
        old, new = cursor[OLD], cursor[NEW]
        late = old < new and ts[old] + delay <= ts[new]
        row = old if late else new
        first, last = start[row], start[row + 1]
        rate = totals[CLICKS] / totals[WEIGHT]
        base = math.log(rate / (1.0 - rate))
        expand(
            first, last, late, keys, values, numbers, field_of, seen, slots, fields, entry_at, entry_x,
            category_at, category_key, category_field, sizes,
        )  # fmt: skip
        predict_linear(base, bayes, ftrl, slots, entry_at, entry_x, sizes, margins, variances, inputs)
        count_inputs(
            rate, options[WITH_COUNTS] != 0, options[WITH_NOVELTY] != 0, slots, fields, entry_at, category_at,
            category_field, sizes, odds, count_delta, novelty_delta, sums,
        )  # fmt: skip
        pair_inputs(
            rate, options, pairs, crosses, choices, totals, category_key, category_field, sizes, odds, pair_at,
            pair_cross, pair_odds, pair_delta, sums,
        )  # fmt: skip
        raw = 0.0
        if options[WITH_ADAGRAD] != 0:
            raw = predict_adagrad(slots, pairs, entry_at, entry_x, pair_at, sizes)
        parents = base + totals[BIAS] + sums[0] + sums[1]
        counts = parents + sums[2]
        if not late:
            for each in range(FTRL_INPUT + 1):
                served[row, SERVED_INPUTS + each] = inputs[each]
            served[row, SERVED_INPUTS + ADA_INPUT] = raw
            served[row, SERVED_INPUTS + MAIN_INPUT] = sums[0]
            served[row, SERVED_INPUTS + NOVELTY_INPUT] = sums[1]
            served[row, SERVED_INPUTS + PAIR_INPUT] = sums[2]
            predicted[row] = predict_mixture(base, counts, stacks, totals, served, row)
            cursor[NEW] += 1
        if not late and delay > 0:
            continue
        label, weight = int(labels[row]), weights[row]
        totals[LEARNED] += 1.0
        totals[ROW_WEIGHT] += weight
        # By the mean weight, so that a mixture learns at the same pace whatever a row stands for.
        relative = weight * totals[LEARNED] / totals[ROW_WEIGHT]
        learn_shares(label, relative, options, totals, served, row)
        learn_stacks(base, label, relative, stacks, spreads, served, row, moved)
        error = (probability(counts) - label) * weight
        totals[BIAS_GRADIENT] += error * error
        totals[BIAS] -= BIAS_RATE * error / math.sqrt(totals[BIAS_GRADIENT])
        chance = probability(parents)
        learn_pairs(
            error, (label - chance) * weight, chance * (1.0 - chance) * weight, label, weight, pairs, crosses, sizes,
            pair_at, pair_cross, pair_delta,
        )  # fmt: skip
        learn_counts(
            error, label, weight, slots, fields, entry_at, category_at, category_field, sizes, count_delta,
            novelty_delta,
        )  # fmt: skip
        if options[WITH_ADAGRAD] != 0:
            learn_adagrad(base + raw, label, weight, slots, pairs, totals, entry_at, entry_x, pair_at, sizes)
        learn_linear(bayes, ftrl, label, weight, slots, entry_at, entry_x, sizes, margins, variances)
        for slot in range(first, last):
            if numbers[slot]:
                fields[field_of[slot], NUMBERS] += 1.0
                fields[field_of[slot], SQUARES] += values[slot] * values[slot]
        totals[WEIGHT] += weight
        totals[CLICKS] += label * weight
        if options[MOST_CROSSES] > 0 and int(totals[LEARNED]) % EPOCH == 0:
            choose_crosses(options, crosses, choices, totals)
        cursor[OLD] += 1
