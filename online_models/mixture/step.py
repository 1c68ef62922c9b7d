"""The kernel: shows rows to all experts, predicts, learns, and takes back what was learned, by a list of actions."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from online_models.mixture.actions import CLICKED, KEEP, LEARN, REVERSE, SHOW
from online_models.mixture.adagrad import learn_adagrad, predict_adagrad, reverse_adagrad
from online_models.mixture.counts import BIAS_RATE, count_inputs, learn_counts, reverse_counts
from online_models.mixture.crosses import (
    EPOCH,
    choose_crosses,
    load_crosses,
    meet_fields,
    store_crosses,
)
from online_models.mixture.entries import (
    AHEAD,
    CATEGORIES,
    END,
    NEXT,
    SIZES,
    fetch_some,
    locate_pairs,
    locate_slots,
    mark_lines,
    scale_entries,
)
from online_models.mixture.hashing import probability
from online_models.mixture.layout import (
    ADA_INPUT,
    BIAS,
    BIAS_GRADIENT,
    CLICKS,
    COUNT_ERROR,
    CROSS_COLUMNS,
    ENTRIES,
    EPOCHS,
    FIELDS,
    FTRL_INPUT,
    GRADIENT_COLUMNS,
    INPUTS,
    LEARNED,
    LEARNED_EPOCH,
    MAIN_INPUT,
    MOST_CROSSES,
    NOVELTY_INPUT,
    NUMBERS,
    OPINIONS,
    PAIR_INPUT,
    PAIR_STRIDE,
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
from online_models.mixture.pairs import PAIR_VALUES, learn_pairs, pair_inputs, reverse_pairs
from schemas.compiled import kernel, read, written

# What the kernel works with, by name: the type and shape of each array. It is handed over, because a kernel that
# allocates arrays counts references. Of what is located there are two, for the action that is done and for the next
# one: its number modulo 2 is its turn.
_ENTRIES = ENTRIES + ROW_SLOTS + 1
_SCRATCH: Final[dict[str, tuple[str, tuple[int, ...]]]] = {
    "entry_at": ("i8", (2, _ENTRIES)),
    "entry_x": ("f8", (_ENTRIES,)),
    "category_at": ("i8", (2, ROW_SLOTS)),
    "category_key": ("u8", (2, ROW_SLOTS)),
    "category_field": ("i8", (2, ROW_SLOTS)),
    "pair_at": ("i8", (2, PAIR_STRIDE)),
    "pair_cross": ("i8", (2, PAIR_STRIDE)),
    "pair_one": ("i8", (2, PAIR_STRIDE)),
    "pair_other": ("i8", (2, PAIR_STRIDE)),
    "sizes": ("i8", (2, SIZES)),
    "ahead": ("i8", (AHEAD,)),
    "pair_values": ("f8", (PAIR_VALUES, PAIR_STRIDE)),
    "ratios": ("f8", (ROW_PAIRS,)),
    "odds": ("f8", (ROW_SLOTS,)),
    "count_delta": ("f8", (ROW_SLOTS,)),
    "novelty_delta": ("f8", (ROW_SLOTS,)),
    "powers": ("f8", (ROW_SLOTS,)),
    "sums": ("f8", (4,)),
    "taken": ("f8", (GRADIENT_COLUMNS,)),
    "margins": ("f8", (PRIORS + 1,)),
    "variances": ("f8", (PRIORS,)),
    "inputs": ("f8", (INPUTS,)),
    "chances": ("f8", (OPINIONS,)),
    "moved": ("f8", (WEIGHTS,)),
    "begins": ("i8", (FIELDS,)),
    "ends": ("i8", (FIELDS,)),
    "ids": ("i8", (ROW_PAIRS,)),
    "counted": ("f8", (CROSS_COLUMNS, PAIR_STRIDE)),
    "met": ("u8", (FIELDS,)),
    "worth": ("f8", (FIELDS * FIELDS,)),
}
_ZEROS: Final = ("sizes", "ahead", "taken", "inputs")


def scratch() -> tuple[np.ndarray, ...]:
    """Arrays for one call of the kernel, its last arguments."""
    return tuple((np.zeros if name in _ZEROS else np.empty)(shape, kind) for name, (kind, shape) in _SCRATCH.items())


@kernel(
    *(read("i8"), read("u8"), read("f8"), read("u1"), read("i8")),
    *(written("u1"), written("f8", 2), written("f8"), written("f8", 2)),
    *(written("f8", 2), written("f8", 2), written("f8", 2), written("f8", 2), written("u1"), written("f8")),
    *(written("f8", 2), written("f8", 3), written("u1"), written("u1"), read("i8"), read("i8"), read("u1"), read("f8")),
    *(written(kind, len(shape)) for kind, shape in _SCRATCH.values()),
    floats=True,
    allocates=False,
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
    entry_at: np.ndarray,
    entry_x: np.ndarray,
    category_at: np.ndarray,
    category_key: np.ndarray,
    category_field: np.ndarray,
    pair_at: np.ndarray,
    pair_cross: np.ndarray,
    pair_one: np.ndarray,
    pair_other: np.ndarray,
    sizes: np.ndarray,
    ahead: np.ndarray,
    pair_values: np.ndarray,
    ratios: np.ndarray,
    odds: np.ndarray,
    count_delta: np.ndarray,
    novelty_delta: np.ndarray,
    powers: np.ndarray,
    sums: np.ndarray,
    taken: np.ndarray,
    margins: np.ndarray,
    variances: np.ndarray,
    inputs: np.ndarray,
    chances: np.ndarray,
    moved: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    ids: np.ndarray,
    counted: np.ndarray,
    met: np.ndarray,
    worth: np.ndarray,
) -> None:
    """Does all actions in their order. Fills `predicted` and `seen` of rows that are shown.

    `served` has what the experts added and each opinion was, when a row was last shown or learned.

    The slots of row i are `start[i]` to `start[i + 1]`, in the order of their fields. `gradients` needs a line for each
    row only where actions keep or reverse. The marks get each line of `slots` and `pairs` that is written.
    From `entry_at` on the arguments are those of `scratch`.
    """
    bits = ratios.view(np.int64)
    crossed, changed = 0, False
    bayes, ftrl, with_pairs = options[WITH_BAYES] != 0, options[WITH_FTRL] != 0, options[MOST_CROSSES] > 0
    if with_pairs:
        crossed = load_crosses(crosses, choices, ids, counted, met)
    chosen = False
    for action in range(-1, len(action_rows)):
        turn, following = action & 1, (action + 1) & 1
        if action + 1 < len(action_rows):
            row = action_rows[action + 1]
            locate_slots(
                following, start[row], start[row + 1], keys, values, numbers, field_of, slots, entry_at, category_at,
                category_key, category_field, sizes, ahead,
            )  # fmt: skip
            locate_pairs(
                following, crossed, ids, category_key, category_field, pairs, begins, ends, pair_at, pair_cross,
                pair_one, pair_other, sizes, ahead,
            )  # fmt: skip
        if action < 0:
            continue
        row, kind, weight = action_rows[action], action_kinds[action], action_weights[action]
        late = kind & SHOW == 0
        first, last = start[row], start[row + 1]
        rate = totals[CLICKS] / totals[WEIGHT]
        base = math.log(rate / (1.0 - rate))
        grown = False
        if with_pairs:
            grown = meet_fields(turn, category_field, sizes[turn, CATEGORIES], met, choices, totals)
        if grown or chosen:
            if grown:
                if changed:
                    store_crosses(crossed, crosses, ids, counted)
                crossed = load_crosses(crosses, choices, ids, counted, met)
            # There is room for the lines of one row: those of this one, which are needed first.
            ahead[NEXT] = ahead[END] = 2
            locate_pairs(
                turn, crossed, ids, category_key, category_field, pairs, begins, ends, pair_at, pair_cross, pair_one,
                pair_other, sizes, ahead,
            )  # fmt: skip
            # The next row was located by the former list.
            chosen = grown
        fetch_some(ahead)
        scale_entries(
            turn, first, last, late, values, numbers, field_of, seen, slots, fields, entry_at, entry_x, category_at,
            sizes,
        )  # fmt: skip
        predict_linear(turn, base, bayes, ftrl, slots, entry_at, entry_x, sizes, margins, variances, inputs, ahead)
        fetch_some(ahead)
        count_inputs(
            turn, rate, options[WITH_COUNTS] != 0, options[WITH_NOVELTY] != 0, slots, fields, entry_at, category_at,
            category_field, sizes, odds, count_delta, novelty_delta, powers, ratios, bits, sums, ahead,
        )  # fmt: skip
        fetch_some(ahead)
        pair_inputs(
            turn, rate, pairs, counted, odds, pair_at, pair_cross, pair_one, pair_other, sizes, pair_values, ratios,
            bits, sums, ahead,
        )  # fmt: skip
        fetch_some(ahead)
        raw = 0.0
        if options[WITH_ADAGRAD] != 0:
            raw = predict_adagrad(turn, slots, entry_at, entry_x, sizes, sums)
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
            mixed = predict_mixture(base, counts, stacks, totals, served, row, chances)
            if not late:
                predicted[row] = mixed
        if kind & (LEARN | REVERSE) != 0:
            mark_lines(turn, slot_marks, pair_marks, entry_at, pair_at, sizes)
        fetch_some(ahead)
        changed = changed or kind & (REVERSE | LEARN) != 0
        if kind & REVERSE != 0:
            for column in range(GRADIENT_COLUMNS):
                taken[column] = gradients[row, column]
            reverse_mixing(stacks, spreads, totals, served, row, taken, chances)
            totals[BIAS] += BIAS_RATE * taken[COUNT_ERROR] / math.sqrt(totals[BIAS_GRADIENT])
            reverse_pairs(turn, weight, pairs, counted, pair_at, pair_cross, sizes, pair_values, taken)
            reverse_counts(
                turn, weight, slots, fields, entry_at, category_at, category_field, sizes, count_delta, novelty_delta,
                taken,
            )  # fmt: skip
            if options[WITH_ADAGRAD] != 0:
                reverse_adagrad(
                    turn, slots, pairs, counted, totals, entry_at, entry_x, pair_at, pair_cross, sizes, taken
                )  # fmt: skip
            reverse_linear(turn, bayes, ftrl, slots, entry_at, entry_x, sizes, taken)
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
        fetch_some(ahead)
        learn_shares(label, relative, options, totals, chances)
        learn_stacks(base, label, relative, stacks, spreads, served, row, moved, taken, ahead)
        error = (probability(counts) - label) * weight
        totals[BIAS_GRADIENT] += error * error
        totals[BIAS] -= BIAS_RATE * error / math.sqrt(totals[BIAS_GRADIENT])
        chance = probability(parents)
        taken[COUNT_ERROR], taken[PARENT_ERROR] = error, (label - chance) * weight
        taken[SHARE_WEIGHT], taken[LEARNED_EPOCH] = relative, totals[EPOCHS]
        fetch_some(ahead)
        learn_pairs(
            turn, error, (label - chance) * weight, chance * (1.0 - chance) * weight, label, weight, pairs, counted,
            pair_at, pair_cross, sizes, pair_values,
        )  # fmt: skip
        fetch_some(ahead)
        learn_counts(
            turn, error, label, weight, slots, fields, entry_at, category_at, category_field, sizes, count_delta,
            novelty_delta,
        )  # fmt: skip
        if options[WITH_ADAGRAD] != 0:
            learn_adagrad(
                turn, base + raw, label, weight, slots, pairs, totals, entry_at, entry_x, pair_at, sizes, pair_values,
                taken, ahead,
            )  # fmt: skip
        learn_linear(
            turn, bayes, ftrl, label, weight, slots, entry_at, entry_x, sizes, margins, variances, taken, ahead
        )
        for slot in range(first, last):
            if numbers[slot]:
                fields[field_of[slot], NUMBERS] += 1.0
                fields[field_of[slot], SQUARES] += values[slot] * values[slot]
        totals[WEIGHT] += weight
        totals[CLICKS] += label * weight
        if kind & KEEP != 0:
            for column in range(GRADIENT_COLUMNS):
                gradients[row, column] = taken[column]
        if with_pairs and int(totals[LEARNED]) % EPOCH == 0:
            store_crosses(crossed, crosses, ids, counted)
            choose_crosses(options, crosses, choices, totals, crossed, ids, worth)
            crossed, chosen = load_crosses(crosses, choices, ids, counted, met), True
    if changed:
        store_crosses(crossed, crosses, ids, counted)
