"""The pacing law: how many auctions each campaign enters, and with which multiplier of its bids."""

from __future__ import annotations

from streams.kernels.pacing_columns import ASAP as ASAP
from streams.kernels.pacing_columns import EVEN as EVEN
from streams.kernels.pacing_columns import FIRST_CURVE as FIRST_CURVE
from streams.kernels.pacing_columns import FLAT as FLAT
from streams.pacing.law.arrays import Decisions as Decisions
from streams.pacing.law.arrays import Terms as Terms
from streams.pacing.law.arrays import Totals as Totals
from streams.pacing.law.pacer import Pacer as Pacer
from streams.pacing.law.reasons import REASONS as REASONS
from streams.pacing.law.settings import LawSettings as LawSettings
