"""The columns of the arrays that the kernels of the pacing law share, and the numbers that stand for plans and reasons.

Rows are campaigns; amounts are micros, times seconds.
"""

from __future__ import annotations

# Terms of a campaign.
BUDGET, START, END, PLAN, LEAST_MULTIPLIER, MOST_MULTIPLIER, IS_LAST, DAY_START, HOUR_CAP, CLOSED = range(10)
TERMS = 10
EVEN, FLAT, ASAP, FIRST_CURVE = range(4)  # FIRST_CURVE + n is the curve with number n
CURVE_PARTS = 96
# What totals say of it: of the period by click time; by impression time, since any moment; of this hour by click time.
SPEND, CLICKS, IMPRESSIONS, EXPECTED_CLICKS, EXPECTED_SPEND, HOUR_SPEND = range(6)
SEEN = 6
QUARTERS_KEPT = 16
# What is known of it. FULL: full seconds by dead reckoning, now and at the last totals; FAST and SLOW: value and full
# seconds that fade; QUARTER: of this quarter-hour; AHEAD: the time of the plan after it; DUE and CAME: clicks; SEEN: of
# the last totals; SENT: what was told; GRANT, SHOWN, RESERVED: leases; PLANNED_NEXT, PLANNED_RATE: under an hourly cap.
FULL_NOW, FULL_SEEN, FAST_VALUE, FAST_FULL, SLOW_VALUE, SLOW_FULL, QUARTER_VALUE, QUARTER_FULL = range(8)
KAPPA, ADMITTED, MULTIPLIER, PRICE_GUESS, LEVEL, AHEAD, PLANNED_FROM, PLANNED_SPEND = range(8, 16)
DUE_CLICKS, CAME_CLICKS, SEEN_IMPRESSIONS, SEEN_CLICKS, SEEN_SPEND, SENT, SENT_MULTIPLIER, SENT_S = range(16, 24)
ELASTICITY, SENT_BEFORE, WANTED, PLANNED_AHEAD, GRANT, SHOWN, RESERVED, RESERVED_BEFORE = range(24, 32)
RESERVED_S, PRICE_SQUARE, BILLED, PLANNED_NEXT, PLANNED_RATE = range(32, 37)
STATE = 37
# What is decided.
ADMIT, BID_MULTIPLIER, ALLOWANCE, SAFE_ADMIT, IN_FLIGHT, UNSEEN, REASON, PLANNED, TOLD, VALID_UNTIL = range(10)
DECIDED = 10
# Why; `streams.pacing.law.reasons` has the words.
BY_PLAN, ALL_ADMITTED, NOT_BEGUN, ENDED, SPENT, IN_FLIGHT_FULL, CHANCE, BLIND, NO_BUDGET, CLOSED_NOW, HOUR_FULL = range(
    11
)
# Numbers that a call is given.
NOW, BEFORE, SEEN_TO, SEEN_BEFORE, WINDOW, POOLED_RATE, FULL_TICKS = range(7)
Z, EARLY, EARLY_CLICKS, SETPOINT, GAIN, LEASE_S, BLIND_S, ERROR, HOLDS_MULTIPLIER, SLACK = range(10)
DEAD_BAND, ROUNDING, MULTIPLIER_BAND, REPEAT_S, OVERLAP_S, LEFT_OVER, LEFT_SHARE, LEFT_MOST = range(10, 18)
TRACK_S, RISK, TIGHT_FROM, LAST_CLICKS, DEAR, EARLY_FROM = range(18, 24)
LAW = 24
TICKS_KEPT = 16
# Seconds of a quarter-hour and a minute, and a time that does not come.
QUARTER_S, MINUTE_S, NEVER_S = 900.0, 60.0, 1e12
