"""The kernel: shows rows to all experts, predicts, learns, and takes back what was learned, by a list of actions."""

from __future__ import annotations

import math

import numpy as np

from online_models.mixture.actions import CLICKED, KEEP, LEARN, REVERSE, SHOW
from online_models.mixture.adagrad import learn_adagrad, predict_adagrad, reverse_adagrad
from online_models.mixture.counts import BIAS_RATE, count_inputs, learn_counts, reverse_counts
from online_models.mixture.entries import expand, mark_lines
from online_models.mixture.hashing import probability
from online_models.mixture.layout import (
    ADA_INPUT,
    BIAS,
    BIAS_GRADIENT,
    CLICKS,
    COUNT_ERROR,
    ENTRIES,
    EPOCHS,
    FTRL_INPUT,
    GRADIENT_COLUMNS,
    INPUTS,
    LEARNED,
    LEARNED_EPOCH,
    MAIN_INPUT,
    MOST_CROSSES,
    NOVELTY_INPUT,
    NUMBERS,
    PAIR_INPUT,
    PARENT_ERROR,
    PRIORS,
    ROW_PAIRS,
    ROW_SLOTS,
    ROW_WEIGHT,
    SERVED_INPUTS,
    SHARE_WEIGHT,
    SQUARES,
    WEIGHT,
    WEIGHTS,
    WITH_ADAGRAD,
    WITH_BAYES,
    WITH_COUNTS,
    WITH_FTRL,
    WITH_NOVELTY,
)
from online_models.mixture.linear import learn_linear, predict_linear, reverse_linear
from online_models.mixture.mixing import learn_shares, learn_stacks, predict_mixture, reverse_mixing
from online_models.mixture.pairs import EPOCH, choose_crosses, learn_pairs, pair_inputs, reverse_pairs
from schemas.compiled import kernel, read, written


@kernel(
    *(read("i8"), read("u8"), read("f8"), read("u1"), read("i8")),
    *(written("u1"), written("f8", 2), written("f8"), written("f8", 2)),
    *(written("f8", 2), written("f8", 2), written("f8", 2), written("f8", 2), written("u1"), written("f8")),
    *(written("f8", 2), written("f8", 3), written("u1"), written("u1"), read("i8"), read("i8"), read("u1"), read("f8")),
)
def step(
    start: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    field_of: np.ndarray,
    seen: np.ndarray,
    served: np.ndarray,
    predicted: np.ndarray,
    gradients: np.ndarray,
    slots: np.ndarray,
    pairs: np.ndarray,
    fields: np.ndarray,
    crosses: np.ndarray,
    choices: np.ndarray,
    totals: np.ndarray,
    stacks: np.ndarray,
    spreads: np.ndarray,
    slot_marks: np.ndarray,
    pair_marks: np.ndarray,
    options: np.ndarray,
    action_rows: np.ndarray,
    action_kinds: np.ndarray,
    action_weights: np.ndarray,
) -> None:
    """Does all actions in their order. Fills `predicted` and `seen` of rows that are shown.

    `served` has what the experts added and each opinion was, when a row was last shown or learned.

    The slots of row i are `start[i]` to `start[i + 1]`, in the order of their fields. `gradients` needs a line for each
    row only where actions keep or reverse. The marks get each line of `slots` and `pairs` that is written.
    """
    entry_at, entry_x = np.empty(ENTRIES + ROW_SLOTS + 1, np.int64), np.empty(ENTRIES + ROW_SLOTS + 1)
    category_at, category_field = np.empty(ROW_SLOTS, np.int64), np.empty(ROW_SLOTS, np.int64)
    category_key = np.empty(ROW_SLOTS, np.uint64)
    odds, count_delta, novelty_delta = np.empty(ROW_SLOTS), np.empty(ROW_SLOTS), np.empty(ROW_SLOTS)
    pair_at, pair_cross = np.empty(ROW_PAIRS, np.int64), np.empty(ROW_PAIRS, np.int64)
    pair_odds, pair_delta = np.empty(ROW_PAIRS), np.empty(ROW_PAIRS)
    sizes, sums, taken = np.empty(4, np.int64), np.empty(3), np.zeros(GRADIENT_COLUMNS)
    margins, variances, inputs, moved = np.empty(PRIORS + 1), np.empty(PRIORS), np.zeros(INPUTS), np.empty(WEIGHTS)
    bayes, ftrl = options[WITH_BAYES] != 0, options[WITH_FTRL] != 0
    for action in range(len(action_rows)):
        row, kind, weight = action_rows[action], action_kinds[action], action_weights[action]
        late = kind & SHOW == 0
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
        # What a reversal takes back was learned from what is there.
        if kind & REVERSE == 0:
            for each in range(FTRL_INPUT + 1):
                served[row, SERVED_INPUTS + each] = inputs[each]
            served[row, SERVED_INPUTS + ADA_INPUT] = raw
            served[row, SERVED_INPUTS + MAIN_INPUT] = sums[0]
            served[row, SERVED_INPUTS + NOVELTY_INPUT] = sums[1]
            served[row, SERVED_INPUTS + PAIR_INPUT] = sums[2]
            mixed = predict_mixture(base, counts, stacks, totals, served, row)
            if not late:
                predicted[row] = mixed
        if kind & (LEARN | REVERSE) != 0:
            mark_lines(slot_marks, pair_marks, entry_at, pair_at, sizes)
        if kind & REVERSE != 0:
            for column in range(GRADIENT_COLUMNS):
                taken[column] = gradients[row, column]
            reverse_mixing(stacks, spreads, totals, served, row, taken)
            totals[BIAS] += BIAS_RATE * taken[COUNT_ERROR] / math.sqrt(totals[BIAS_GRADIENT])
            reverse_pairs(weight, pairs, crosses, sizes, pair_at, pair_cross, pair_delta, taken)
            reverse_counts(
                weight, slots, fields, entry_at, category_at, category_field, sizes, count_delta, novelty_delta, taken
            )
            if options[WITH_ADAGRAD] != 0:
                reverse_adagrad(
                    slots, pairs, crosses, totals, entry_at, entry_x, pair_at, pair_cross, sizes, taken
                )  # fmt: skip
            reverse_linear(bayes, ftrl, slots, entry_at, entry_x, sizes, taken)
            for slot in range(first, last):
                if numbers[slot]:
                    field = field_of[slot]
                    fields[field, NUMBERS] -= 1.0
                    # A rest below 0 would be no mean square.
                    fields[field, SQUARES] = max(0.0, fields[field, SQUARES] - values[slot] * values[slot])
            totals[WEIGHT] -= weight
        if kind & LEARN == 0:
            continue
        label = 1 if kind & CLICKED != 0 else 0
        totals[LEARNED] += 1.0
        totals[ROW_WEIGHT] += weight
        # By the mean weight, so that a mixture learns at the same pace whatever a row stands for.
        relative = weight * totals[LEARNED] / totals[ROW_WEIGHT]
        learn_shares(label, relative, options, totals, served, row)
        learn_stacks(base, label, relative, stacks, spreads, served, row, moved, taken)
        error = (probability(counts) - label) * weight
        totals[BIAS_GRADIENT] += error * error
        totals[BIAS] -= BIAS_RATE * error / math.sqrt(totals[BIAS_GRADIENT])
        chance = probability(parents)
        taken[COUNT_ERROR], taken[PARENT_ERROR] = error, (label - chance) * weight
        taken[SHARE_WEIGHT], taken[LEARNED_EPOCH] = relative, totals[EPOCHS]
        learn_pairs(
            error, (label - chance) * weight, chance * (1.0 - chance) * weight, label, weight, pairs, crosses, sizes,
            pair_at, pair_cross, pair_delta,
        )  # fmt: skip
        learn_counts(
            error, label, weight, slots, fields, entry_at, category_at, category_field, sizes, count_delta,
            novelty_delta,
        )  # fmt: skip
        if options[WITH_ADAGRAD] != 0:
            learn_adagrad(base + raw, label, weight, slots, pairs, totals, entry_at, entry_x, pair_at, sizes, taken)
        learn_linear(bayes, ftrl, label, weight, slots, entry_at, entry_x, sizes, margins, variances, taken)
        for slot in range(first, last):
            if numbers[slot]:
                fields[field_of[slot], NUMBERS] += 1.0
                fields[field_of[slot], SQUARES] += values[slot] * values[slot]
        totals[WEIGHT] += weight
        totals[CLICKS] += label * weight
        if kind & KEEP != 0:
            for column in range(GRADIENT_COLUMNS):
                gradients[row, column] = taken[column]
        if options[MOST_CROSSES] > 0 and int(totals[LEARNED]) % EPOCH == 0:
            choose_crosses(options, crosses, choices, totals)
