"""The pacing law's loops over all campaigns of a partition. `streams.pacing.law` holds the law in words and its arrays.

Rows are campaigns. Times are seconds since 1970, UTC; amounts micros. A *full second* is a second in which a campaign
enters every auction at its whole bid; traffic of mean density makes its expected spend `rate` in each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schemas.compiled import kernel, read, written
from streams.kernels.pacing_columns import (
    ADMIT,
    ADMITTED,
    AHEAD,
    ALL_ADMITTED,
    ALLOWANCE,
    ASAP,
    BEFORE,
    BID_MULTIPLIER,
    BILLED,
    BLIND,
    BLIND_S,
    BUDGET,
    BY_PLAN,
    CAME_CLICKS,
    CHANCE,
    CLICKS,
    CLOSED_NOW,
    CURVE_PARTS,
    DAY_START,
    DEAD_BAND,
    DEAR,
    DECIDED,
    DUE_CLICKS,
    EARLY,
    EARLY_CLICKS,
    EARLY_FROM,
    ELASTICITY,
    END,
    ENDED,
    ERROR,
    EXPECTED_CLICKS,
    EXPECTED_SPEND,
    FAST_FULL,
    FAST_VALUE,
    FULL_NOW,
    FULL_SEEN,
    FULL_TICKS,
    GAIN,
    GRANT,
    HOLDS_MULTIPLIER,
    HOUR_CAP,
    HOUR_FULL,
    HOUR_SPEND,
    IMPRESSIONS,
    IN_FLIGHT,
    IN_FLIGHT_FULL,
    IS_LAST,
    KAPPA,
    LAST_CLICKS,
    LAW,
    LEASE_S,
    LEAST_MULTIPLIER,
    LEFT_MOST,
    LEFT_OVER,
    LEFT_SHARE,
    LEVEL,
    MINUTE_S,
    MOST_MULTIPLIER,
    MULTIPLIER,
    MULTIPLIER_BAND,
    NEVER_S,
    NO_BUDGET,
    NOT_BEGUN,
    NOW,
    OVERLAP_S,
    PLAN,
    PLANNED,
    PLANNED_AHEAD,
    PLANNED_FROM,
    PLANNED_NEXT,
    PLANNED_RATE,
    PLANNED_SPEND,
    POOLED_RATE,
    PRICE_GUESS,
    PRICE_SQUARE,
    QUARTER_FULL,
    QUARTER_S,
    QUARTER_VALUE,
    REASON,
    REPEAT_S,
    RESERVED,
    RESERVED_BEFORE,
    RESERVED_S,
    RISK,
    ROUNDING,
    SAFE_ADMIT,
    SEEN,
    SEEN_BEFORE,
    SEEN_CLICKS,
    SEEN_IMPRESSIONS,
    SEEN_SPEND,
    SEEN_TO,
    SENT,
    SENT_BEFORE,
    SENT_MULTIPLIER,
    SENT_S,
    SETPOINT,
    SHOWN,
    SLACK,
    SLOW_FULL,
    SLOW_VALUE,
    SPEND,
    SPENT,
    START,
    STATE,
    TERMS,
    TICKS_KEPT,
    TIGHT_FROM,
    TOLD,
    TRACK_S,
    UNSEEN,
    WANTED,
    WINDOW,
    Z,
)
from streams.kernels.pacing_hours import hour_taken, landed, mean_landed
from streams.kernels.pacing_plan import density_at, wanted

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]

_HOUR, _NO_CAP = 3600.0, 1e300


@kernel(
    *(read("f8"), read("f8"), read("f8", 2), read("f8", 2), read("f8", 2), read("f8"), read("f4", 2), read("f8")),
    *(written("f8", 2), written("f8", 2), written("f4", 2), written("f4", 2), written("f8", 2)),
    floats=True,
)
def decide(
    clock: Floats,
    law: Floats,
    terms: Floats,
    seen: Floats,
    curves: Floats,
    pooled: Floats,
    relative: Float32s,
    landing: Floats,
    state: Floats,
    full_ticks: Floats,
    clicks_by_minute: Float32s,
    spend_by_minute: Float32s,
    decided: Floats,
) -> int:
    """Counts what the totals say, and decides for every campaign. Returns how many decisions are to be told.

    `streams.pacing.law` has the law in words.
    """
    if len(clock) <= FULL_TICKS or len(law) < LAW or len(pooled) < 672 or len(full_ticks) < TICKS_KEPT:
        raise IndexError("an array of settings is too short")
    rows = len(terms)
    if (
        min(len(seen), len(relative), len(state), len(decided), full_ticks.shape[1]) < rows
        or min(len(clicks_by_minute), len(spend_by_minute)) < rows
        or terms.shape[1] < TERMS
        or seen.shape[1] < SEEN
        or state.shape[1] < STATE
        or decided.shape[1] < DECIDED
        or relative.shape[1] < 96
        or curves.shape[1] < CURVE_PARTS
        or clicks_by_minute.shape[1] != spend_by_minute.shape[1]
    ):
        raise IndexError("an array is shorter than the campaigns are many, or has too few columns")
    now, before, seen_to, seen_before = clock[NOW], clock[BEFORE], clock[SEEN_TO], clock[SEEN_BEFORE]
    minutes = clicks_by_minute.shape[1]
    passed = max(now - before, 0.0)
    fresh = seen_to > seen_before
    blind_s = now - seen_to
    # The oldest minute whose clicks can still come.
    newest_minute = np.int64(seen_to // MINUTE_S)
    oldest_minute = newest_minute - min(minutes - 2, np.int64(clock[WINDOW] // MINUTE_S) + 1)
    tick = np.int64(clock[FULL_TICKS]) % TICKS_KEPT
    first_fresh = np.int64(seen_before // MINUTE_S)
    if fresh and newest_minute - first_fresh > minutes - 2:
        first_fresh = newest_minute - minutes + 2
    areas = np.zeros(len(landing) + 1)
    for age_s in range(len(landing)):
        areas[age_s + 1] = areas[age_s] + landing[age_s]
    landed_by_minute = np.zeros(minutes)
    for minute in range(oldest_minute, newest_minute + 1):
        age = seen_to - minute * MINUTE_S
        landed_by_minute[minute % minutes] = mean_landed(areas, max(age - MINUTE_S, 0.0), age)
    count = 0
    for row in range(rows):
        # -- dead reckoning: full seconds that the decisions in force were good for, times the traffic expected in them
        density = density_at(pooled, relative, row, now - passed / 2)
        in_force = max(state[row, SENT_BEFORE], 0.0)
        full = state[row, FULL_NOW] + in_force * density * passed
        state[row, FULL_NOW] = full
        state[row, SENT_BEFORE] = state[row, SENT] * state[row, SENT_MULTIPLIER] ** state[row, ELASTICITY]
        full_ticks[tick, row] = full
        if fresh:
            # How many of them the totals show: known for the last ticks, else between what is known.
            back = (now - seen_to) / max(passed, 1e-9)
            steps = np.int64(back)
            if passed > 0.0 and steps < TICKS_KEPT - 2 and now - seen_to < 60.0:
                later = full_ticks[(tick + TICKS_KEPT - steps) % TICKS_KEPT, row]
                earlier = full_ticks[(tick + TICKS_KEPT - steps - 1) % TICKS_KEPT, row]
                at_seen = later - (later - earlier) * (back - steps)
            else:
                share = (seen_to - seen_before) / max(now - seen_before, 1e-9)
                at_seen = state[row, FULL_SEEN] + (full - state[row, FULL_SEEN]) * share
            at_seen = max(at_seen, state[row, FULL_SEEN])
            full_shown = at_seen - state[row, FULL_SEEN]
            state[row, FULL_SEEN] = at_seen
            impressions = seen[row, IMPRESSIONS] - state[row, SEEN_IMPRESSIONS]
            clicks = seen[row, EXPECTED_CLICKS] - state[row, SEEN_CLICKS]
            spend = seen[row, EXPECTED_SPEND] - state[row, SEEN_SPEND]
            if impressions < 0.0 or clicks < 0.0 or spend < 0.0:
                impressions, clicks, spend = 0.0, 0.0, 0.0  # its counters began anew
            state[row, SEEN_IMPRESSIONS] = seen[row, IMPRESSIONS]
            state[row, SEEN_CLICKS], state[row, SEEN_SPEND] = seen[row, EXPECTED_CLICKS], seen[row, EXPECTED_SPEND]
            if impressions > 0.0 and clicks <= 0.0:
                # Without predictions: the campaign's own rate, kept as calibration of the pooled one.
                if seen[row, CLICKS] >= 1.0 and seen[row, SPEND] > 0.0:
                    state[row, PRICE_GUESS] = seen[row, SPEND] / seen[row, CLICKS]
                clicks = impressions * clock[POOLED_RATE]
                spend = clicks * state[row, PRICE_GUESS]
            for minute in range(np.int64(seen_before // MINUTE_S) + 1, newest_minute + 1):
                if minute > newest_minute - minutes:
                    clicks_by_minute[row, minute % minutes] = 0.0
                    spend_by_minute[row, minute % minutes] = 0.0
            if spend > 0.0:
                state[row, SHOWN] += spend
                # What was shown is in flight, and no more reserved as well. The older leases come first: which it was
                # shown by is not known, and these are dropped first.
                used = min(state[row, RESERVED_BEFORE], spend * state[row, KAPPA])
                state[row, RESERVED_BEFORE] -= used
                state[row, RESERVED] = max(state[row, RESERVED] - (spend * state[row, KAPPA] - used), 0.0)
                long = seen_to - max(seen_before, first_fresh * MINUTE_S)
                if seen_to - seen_before > 45.0:
                    # After a gap it is not known when they were shown. What may still come of them is what was shown
                    # and in flight less what was billed, as if shown just now; the rest has come.
                    billed_since = max(seen[row, SPEND] - state[row, BILLED], 0.0) / state[row, KAPPA]
                    coming = spend - max(billed_since - decided[row, IN_FLIGHT] / state[row, KAPPA], 0.0)
                    share = max(coming, 0.0) / spend
                    clicks_by_minute[row, newest_minute % minutes] += np.float32(clicks * share)
                    spend_by_minute[row, newest_minute % minutes] += np.float32(spend * share)
                    first_here = newest_minute + 1
                else:
                    first_here = first_fresh
                for minute in range(first_here, newest_minute + 1):
                    low = max(minute * MINUTE_S, seen_before)
                    share = max(min((minute + 1) * MINUTE_S, seen_to) - low, 0.0) / max(long, 1e-9)
                    clicks_by_minute[row, minute % minutes] += np.float32(clicks * share)
                    spend_by_minute[row, minute % minutes] += np.float32(spend * share)
                state[row, DUE_CLICKS] += clicks
                if clicks > 0.0 and state[row, SEEN_CLICKS] > 0.0:
                    guess = spend / clicks
                    weight = min(clicks * 2.0, 0.5)
                    if state[row, PRICE_GUESS] <= 0.0 or state[row, SLOW_VALUE] <= 0.0:
                        weight = 1.0
                    state[row, PRICE_GUESS] += weight * (guess - state[row, PRICE_GUESS])
                    weight = min(clicks * 0.5, 0.5) if state[row, PRICE_SQUARE] > 0.0 else 1.0
                    state[row, PRICE_SQUARE] += weight * (guess * guess - state[row, PRICE_SQUARE])
            state[row, BILLED] = seen[row, SPEND]
            if full_shown > 0.0:
                # Forgets by full seconds, so that a campaign that enters few auctions is measured as long as it needs.
                fade = min(np.exp(-full_shown / 600.0), np.exp(-(seen_to - seen_before) / 3600.0))
                state[row, FAST_VALUE] = state[row, FAST_VALUE] * fade + spend
                state[row, FAST_FULL] = state[row, FAST_FULL] * fade + full_shown
                fade = min(np.exp(-full_shown / 5400.0), np.exp(-(seen_to - seen_before) / 43200.0))
                state[row, SLOW_VALUE] = state[row, SLOW_VALUE] * fade + spend
                state[row, SLOW_FULL] = state[row, SLOW_FULL] * fade + full_shown
                state[row, QUARTER_VALUE] += spend
                state[row, QUARTER_FULL] += full_shown / max(density, 1e-6)
        # -- expected spend a full second
        kappa = state[row, KAPPA]
        slow = (state[row, SLOW_VALUE] + state[row, LEVEL] * 60.0) / (state[row, SLOW_FULL] + 60.0)
        fast = (state[row, FAST_VALUE] + slow * 60.0) / (state[row, FAST_FULL] + 60.0)
        rate = min(max(fast, slow * 0.2), slow * 20.0) * kappa
        # -- in flight: of what was shown, what is to be billed before the period ends
        start, end, budget = terms[row, START], terms[row, END], terms[row, BUDGET]
        billed_until = end + terms[row, IS_LAST] * NEVER_S  # clicks after it are of the next period's budget
        flight = 0.0
        for minute in range(oldest_minute, newest_minute + 1):
            value = spend_by_minute[row, minute % minutes]
            if value > 0.0:
                oldest, newest = billed_until - minute * MINUTE_S, billed_until - min((minute + 1) * MINUTE_S, seen_to)
                share = mean_landed(areas, newest, oldest) - landed_by_minute[minute % minutes]
                if share > 0.0:
                    flight += value * share
        flight *= kappa
        unseen = rate * max(full - state[row, FULL_SEEN], 0.0) * landed(landing, billed_until - now)
        expected = flight + unseen
        billed, clicks = seen[row, SPEND], seen[row, CLICKS]
        price = (billed + 3.0 * max(state[row, PRICE_GUESS], 0.0)) / (clicks + 3.0)
        if state[row, PRICE_GUESS] <= 0.0 and clicks > 0.0:
            price = billed / clicks
        left = budget - billed - expected
        # -- and of the hourly cap, as of the budget
        hour_free, hour_s = _NO_CAP, now - terms[row, DAY_START]
        hour_s -= hour_s // _HOUR * _HOUR  # since the clock hour began
        if terms[row, HOUR_CAP] > 0.0:
            began, billed_in_hour = now - hour_s, seen[row, HOUR_SPEND]
            hour_free = terms[row, HOUR_CAP] - hour_taken(
                spend_by_minute, areas, row, oldest_minute, newest_minute, began, seen_to, kappa, billed_in_hour
            )
        hour_left = hour_free - unseen
        # -- what may be wanted: by the plan
        here = density_at(pooled, relative, row, now)
        multiplied = state[row, MULTIPLIER] ** state[row, ELASTICITY]
        speed = max(rate * multiplied * here, 1e-12)  # expected spend a second at full admission, now
        reason = BY_PLAN
        raw = plan_now = 0.0
        plan = np.int64(terms[row, PLAN])
        planned = budget
        if now < start:
            reason = NOT_BEGUN
            planned = 0.0
        elif now >= end:
            reason = ENDED
        else:
            plan_now = wanted(terms, curves, pooled, relative, row, now)
            until = min(end, (now // QUARTER_S + 1.0) * QUARTER_S)
            rest = state[row, AHEAD] + plan_now * (until - now) * max(
                landed(landing, billed_until - (now + until) / 2), 0.02
            )
            begins = state[row, PLANNED_FROM] <= 0.0
            if begins:
                # The plan begins here: at the start of the period, or where budget or plan changed.
                state[row, PLANNED_FROM], state[row, PLANNED_AHEAD] = now, max(rest, 1e-9)
                state[row, PLANNED_SPEND] = billed + expected if billed + expected < budget else budget
            # A plan that begins when nothing of it is left, such as on a day without open hours, spends nothing more.
            done = 1.0 - min(rest / state[row, PLANNED_AHEAD], 1.0) if state[row, PLANNED_AHEAD] > 1e-9 else 0.0
            planned = state[row, PLANNED_SPEND] + (budget - state[row, PLANNED_SPEND]) * done
            if hour_free < _NO_CAP:
                planned = state[row, PLANNED_NEXT] - state[row, PLANNED_RATE] * (until - now)
            if plan == ASAP:
                raw = 1.0 if left > 0.0 else 0.0
                planned = budget
            else:
                # It is done a little before the period ends: then what is in flight comes, and what chance left over is
                # spent click by click. Small budgets need more time for that: there a click is a larger part. Until the
                # last third spend keeps to the plan.
                begun = state[row, PLANNED_AHEAD]
                near = min(max((law[EARLY_FROM] * begun - rest) / max(0.6 * law[EARLY_FROM] * begun, 1e-12), 0.0), 1.0)
                early = near * begun * min(law[EARLY] + law[EARLY_CLICKS] * price / max(budget, 1.0), 0.15)
                ahead = max(rest - early, plan_now * 240.0, 1e-12)
                # What was missed or is too much is made up for within a time, not within the rest of the period.
                missed, track = min(planned, budget) - billed - expected, max(plan_now * law[TRACK_S], 1e-12)
                wanted_speed = ((left - missed) / ahead + missed / min(ahead, track)) * plan_now
                # Who needs nearly every auction that is to come is early: traffic that does not come cannot be made up.
                tight = (wanted_speed / speed * multiplied - law[TIGHT_FROM]) / max(1.0 - law[TIGHT_FROM], 1e-6)
                wanted_speed *= 1.0 + law[RISK] * min(max(tight, 0.0), 1.0)
                # What is left of the hour's cap is spent by the clock.
                by_hour = max(hour_left, 0.0) / max(min(_HOUR - hour_s, end - now), 240.0)
                raw = min(wanted_speed, by_hour) / speed
                if begins and state[row, SLOW_FULL] > 600.0 and law[HOLDS_MULTIPLIER] <= 0.0:
                    # What is wanted jumps here, and the multiplier with it, as far as is known what it does.
                    jump = min(max(raw / law[SETPOINT], 0.1), 10.0) ** (1.0 / state[row, ELASTICITY])
                    if jump > 1.25 or jump < 0.8:
                        before_ = state[row, MULTIPLIER]
                        after = min(max(before_ * jump, terms[row, LEAST_MULTIPLIER]), terms[row, MOST_MULTIPLIER])
                        state[row, MULTIPLIER] = after
                        raw /= (after / before_) ** state[row, ELASTICITY]
                        speed *= (after / before_) ** state[row, ELASTICITY]
        want = min(max(raw, 0.0), 1.0)
        if reason == BY_PLAN and want >= 1.0:
            reason = ALL_ADMITTED
        # -- and by the cap: what is expected, and chance, must fit into the budget
        error = law[ERROR] * unseen if blind_s > law[BLIND_S] else 0.0
        # The cost of a Poisson number of clicks has the variance expected * (mean square of a price) / (mean price).
        # The mean is not below what clicks cost at the present multiplier. What is expected is as wrong as calibration,
        # which so many clicks have told.
        spread = 1.0
        if state[row, PRICE_GUESS] > 0.0:
            spread = min(max(state[row, PRICE_SQUARE] / state[row, PRICE_GUESS] ** 2, 1.0), 3.0)
        told_by = 20.0 + state[row, CAME_CLICKS]
        dear = max(price, state[row, PRICE_GUESS])
        variance = dear * spread * expected + expected * expected / told_by + error * error
        chance = law[Z] * np.sqrt(max(variance, 0.0))
        least_spare = law[LEFT_OVER] * price
        spare = max(min(law[LEFT_SHARE] * budget, law[LEFT_MOST] * price), least_spare)
        room = min(left - (spare - least_spare), hour_left) - chance + law[SLACK] * price
        if now >= start and now < end:
            most = max(room, 0.0) / max(speed * 15.0, 1e-12)
            if most < want:
                want = most
                reason = BLIND if blind_s > law[BLIND_S] else CHANCE
            if billed >= budget:
                want, reason = 0.0, SPENT
            elif left <= spare or hour_left <= law[LEFT_OVER] * dear:
                want, reason = 0.0, IN_FLIGHT_FULL
            if hour_left < left and (reason == CHANCE or reason == IN_FLIGHT_FULL):
                reason = HOUR_FULL
            if plan_now <= 0.0 and reason != SPENT:
                want, reason = 0.0, CLOSED_NOW
            if budget <= 0.0:
                reason = NO_BUDGET
        else:
            want = 0.0
        if plan != ASAP:
            admitted = state[row, ADMITTED]
            # Slowly up, as long as it is not known what that costs.
            growth_s = 20.0 if raw > 0.5 and state[row, SLOW_FULL] > 600.0 else 100.0
            up = admitted + max(admitted, 0.02) * passed / growth_s + 0.0002 * passed
            want = min(want, up)
        # The multiplier does not rise where chance, and not the plan, keeps the share down, nor so far that the last
        # clicks are bought dear: one could be two.
        is_dear = state[row, PRICE_GUESS] > law[DEAR] * price and left <= spare + law[LAST_CLICKS] * price
        state[row, ADMITTED] = want
        state[row, WANTED] = min(raw, law[SETPOINT]) if is_dear or reason >= IN_FLIGHT_FULL else raw
        # -- the lease. What was granted may be spent to the last, by servers that have not heard of a newer decision,
        # until totals show a time when all have. It is reserved so long; then only what the last lease has left is.
        if fresh and state[row, RESERVED_S] > 0.0 and seen_to >= state[row, RESERVED_S] + law[OVERLAP_S]:
            state[row, RESERVED_BEFORE] = state[row, RESERVED]
            state[row, RESERVED] = state[row, RESERVED_S] = 0.0
        if fresh and state[row, RESERVED_S] <= 0.0 and seen_to >= state[row, SENT_S] + law[OVERLAP_S]:
            last = max(state[row, GRANT] - state[row, SHOWN] * kappa, 0.0)
            state[row, RESERVED_BEFORE] = min(state[row, RESERVED_BEFORE], last)
        reserved = state[row, RESERVED] + state[row, RESERVED_BEFORE]
        free = max(min(budget - billed - flight, hour_free) - reserved, 0.0)
        grant = min(max(speed * want * law[LEASE_S], price * 0.1), free / 2.0) if want > 0.0 else 0.0
        # As ad servers reckon it: without calibration.
        decided[row, ALLOWANCE] = grant / kappa
        multiplier = state[row, MULTIPLIER]
        decided[row, ADMIT], decided[row, BID_MULTIPLIER], decided[row, SAFE_ADMIT] = want, multiplier, want / 2.0
        decided[row, IN_FLIGHT], decided[row, UNSEEN] = flight, unseen
        decided[row, REASON], decided[row, PLANNED] = reason, planned
        # -- what is worth a record
        sent = state[row, SENT]
        told = (
            abs(want - sent) > law[DEAD_BAND] * sent + law[ROUNDING]
            or (want == 0.0) != (sent == 0.0)
            or abs(multiplier - state[row, SENT_MULTIPLIER]) > law[MULTIPLIER_BAND]
            or (want > 0.0 and now - state[row, SENT_S] >= law[REPEAT_S])
            or (want > 0.0 and state[row, SHOWN] * kappa > state[row, GRANT] / 2.0 and grant > state[row, GRANT] / 4.0)
            or state[row, SENT_S] < 0.0
        )
        decided[row, TOLD] = 1.0 if told else 0.0
        if told:
            state[row, SENT], state[row, SENT_MULTIPLIER], state[row, SENT_S] = want, multiplier, now
            state[row, GRANT], state[row, SHOWN] = grant, 0.0
            state[row, RESERVED] += grant
            if state[row, RESERVED_S] <= 0.0:
                state[row, RESERVED_S] = now  # from then on servers leave those of before
            count += 1
    return count


@kernel(read("f8"), read("f8", 2), written("f8", 2), floats=True)
def turn_multipliers(law: Floats, terms: Floats, state: Floats) -> None:
    """Moves every multiplier so that the share wanted comes back to the setpoint: mid-ranging, once a minute.

    Allison and Isaksson (1998), "Design and performance of mid-ranging controllers": the fast actuator, the share, is
    kept in the middle of its range by the slow one, the multiplier.
    """
    if len(law) < LAW or len(state) < len(terms) or terms.shape[1] < TERMS or state.shape[1] < STATE:
        raise IndexError("an array is too short")
    for row in range(len(terms)):
        raw = state[row, WANTED]
        if terms[row, PLAN] == ASAP or law[HOLDS_MULTIPLIER] > 0.0 or (state[row, ADMITTED] <= 0.005 and raw <= 1.0):
            continue
        # More than every auction is wanted: what is not spent now may never be.
        gain = law[GAIN] * (2.5 if raw > 1.0 else 1.0)
        moved = state[row, MULTIPLIER] * np.exp(gain * np.log(min(max(raw / law[SETPOINT], 0.15), 3.0)))
        state[row, MULTIPLIER] = min(max(moved, terms[row, LEAST_MULTIPLIER]), terms[row, MOST_MULTIPLIER])
