"""Which array of a mixture holds what: column numbers and sizes, shared by all kernels of this room."""

from __future__ import annotations

from typing import Final

# Fields of a model. Those that appear first get a number of their own; all further ones share the last number.
FIELDS: Final = 64
# The fields every outcome has, in this order, then the hour of the day. Fields of `features` follow as they appear.
NAMED: Final = ("campaign_id", "creative_id", "placement", "country", "device")
HOUR: Final = len(NAMED)
# Slots of one row: an outcome has at most 256 features, and the fields above.
ROW_SLOTS: Final = 264
# A number is two entries: its value, and its bucket as a category.
ENTRIES: Final = 2 * ROW_SLOTS
# Pairs of one row, at most. Every pair of 64 fields is 2,016.
ROW_PAIRS: Final = 2_048
# Places from one column of a row's pairs to the next. Columns that begin a multiple of 4,096 bytes apart share the same
# few lines of the processor's cache.
PAIR_STRIDE: Final = ROW_PAIRS + 40

# Bytes of a line of the processor's cache.
CACHE_BYTES: Final = 64

# How often a category was seen, by powers of two: never, once, 2-3, 4-7, ... 2,048 and more.
NOVELTIES: Final = 13

# `slots`, one line for a hashed category or number. Behind the hashed ones: the intercept, then novelties by field.
SEEN: Final = 0  # rows
SHOWN: Final = 1  # weight of all rows
CLICKED: Final = 2  # weight of clicks
BAYES: Final = 3  # mean and variance for each prior variance
PRIORS: Final = 3
FTRL_Z: Final = BAYES + 2 * PRIORS
FTRL_N: Final = FTRL_Z + 1
ADA_WEIGHT: Final = FTRL_N + 1
ADA_GRADIENT: Final = FTRL_N + 2
SLOT_COLUMNS: Final = FTRL_N + 3

# `pairs`, one line for a hashed pair of categories.
PAIR_SHOWN: Final = 0
PAIR_CLICKED: Final = 1
PAIR_WEIGHT: Final = 2
PAIR_GRADIENT: Final = 3
PAIR_COLUMNS: Final = 4

# `fields`, one line for a field.
NUMBERS: Final = 0  # rows in which it was a number
SQUARES: Final = 1  # sum of their squares
COUNT_WEIGHT: Final = 2  # how much its counts say, and the sum of squared gradients
COUNT_GRADIENT: Final = 3
NOVELTY_WEIGHT: Final = 4
NOVELTY_GRADIENT: Final = 5
FIELD_COLUMNS: Final = 6

# `crosses`, one line for a pair of fields, lower number first.
CROSS_WEIGHT: Final = 0
CROSS_GRADIENT: Final = 1
CROSS_SLOPE: Final = 2  # sum of residual times input, and of variance times input squared: its evidence
CROSS_CURVE: Final = 3
CROSS_ROWS: Final = 4
CROSS_SINCE: Final = 5  # the epoch from which its pairs are counted
CROSS_COLUMNS: Final = 6

# `choices`, one byte for a pair of fields: whether a row had both, and whether such pairs are counted. It is apart from
# `crosses`, so that a row looks at no more than one line of cache for 64 pairs that are not counted.
UNSEEN: Final = 0
IDLE: Final = 1
ACTIVE: Final = 2

# What Newton's method weighs: the linear experts, and the three parts of the counts.
FTRL_INPUT: Final = PRIORS
ADA_INPUT: Final = PRIORS + 1
MAIN_INPUT: Final = PRIORS + 2
NOVELTY_INPUT: Final = PRIORS + 3
PAIR_INPUT: Final = PRIORS + 4
INPUTS: Final = PRIORS + 5
# The same and a bias.
WEIGHTS: Final = INPUTS + 1
STACKS: Final = 3

# What the last mixture weighs: log odds of the base rate, of two experts, of all counts, and of each stack.
FIRST_STACK: Final = 4
OPINIONS: Final = FIRST_STACK + STACKS
OPINION_NAMES: Final = ("base rate", "bayes", "adagrad", "counts", "stack .01", "stack .03", "stack .1")

# `options`, whole numbers for the whole model, from its settings: pairs of fields that are kept, later and in the first
# rows; 1 for each expert that is on; and 1 for each opinion that is mixed.
MOST_CROSSES: Final = 0
MOST_EARLY: Final = 1
WITH_BAYES: Final = 2
WITH_FTRL: Final = 3
WITH_ADAGRAD: Final = 4
WITH_COUNTS: Final = 5
WITH_NOVELTY: Final = 6
MIXED: Final = 7
OPTION_COLUMNS: Final = MIXED + OPINIONS

# `served`, one line for a row: what was known when it was shown, for the mixing to learn from when its label is there.
SERVED_INPUTS: Final = 0
SERVED_OPINIONS: Final = SERVED_INPUTS + INPUTS
SERVED_COLUMNS: Final = SERVED_OPINIONS + OPINIONS

# `gradients`, one line for a row that was learned as a negative and may be reversed: what was learned of it then. The
# step of each Bayesian expert and of each stack, and weighted errors: of FTRL, of AdaGrad, of the counts, and of what
# the categories alone predicted.
BAYES_STEP: Final = 0
FTRL_ERROR: Final = BAYES_STEP + PRIORS
ADA_ERROR: Final = FTRL_ERROR + 1
COUNT_ERROR: Final = FTRL_ERROR + 2
PARENT_ERROR: Final = FTRL_ERROR + 3
STACK_STEP: Final = FTRL_ERROR + 4
SHARE_WEIGHT: Final = STACK_STEP + STACKS  # the weight with which the shares learned it
LEARNED_EPOCH: Final = SHARE_WEIGHT + 1
GRADIENT_COLUMNS: Final = SHARE_WEIGHT + 2

# `totals`, one line for the whole model.
WEIGHT: Final = 0  # weight of all rows learned, with the prior
CLICKS: Final = 1  # weight of clicks among them
LEARNED: Final = 2  # rows
ROW_WEIGHT: Final = 3  # weight without the prior
BIAS: Final = 4  # of the counts
BIAS_GRADIENT: Final = 5
EPOCHS: Final = 6  # how often crosses were chosen
NEXT_CROSS: Final = 7  # the cross that is tried next
INPUTS_SEEN: Final = 8  # linear inputs of all rows
SHARE: Final = 9  # of each opinion in the mixture
CARRIED: Final = SHARE + OPINIONS  # sum of these shares over all rows learned
TOTAL_COLUMNS: Final = CARRIED + OPINIONS
