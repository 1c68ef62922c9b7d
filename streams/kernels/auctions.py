"""Second-price auctions among campaigns behind gates, second by second: the market that pacing is tried in.

Whatever the gates decide, an auction has the same number, candidates, context, outside bidder and luck: all of its
draws come from its own number. So two policies differ by what they do, and not by chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.compiled import inlined, kernel, part, read, written

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Columns of what a server holds, and of what it is told: see `streams.pacing.gate`. Times in seconds. `LEAST_RATE` is
# for policies that choose impressions by their predicted click rate; the law leaves it at 0.
VERSION, ADMIT, MULTIPLIER, LEASE, VALID_UNTIL, SAFE_ADMIT, LEAST_RATE = range(7)
HELD = 7
# Columns of the counters of a campaign, all since the start.
IMPRESSIONS, EXPECTED_CLICKS, EXPECTED_SPEND, CLICKS, SPEND = range(5)
COUNTERS = 5
# Places of the numbers that a call is given.
SEED, FROM_S, TO_S, SEEN_S, WINDOW_S = range(5)
# Columns of a click that is still to come.
WHO, PRICE, QUARTER = range(3)
CANDIDATES = 6
MOST_PER_SECOND = 1024
QUARTERS_KEPT = 16
_SERVER_REFRESH, _SERVER_LATE = range(2)
_GOLDEN, _M1, _M2 = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_U27, _U30, _U31, _U11 = map(np.uint64, (27, 30, 31, 11))
_LOW, _FMIX1, _FMIX2 = map(np.uint64, (0xFFFFFFFF, 0x85EBCA6B, 0xC2B2AE35))
_U8, _U13, _U15, _U16, _U255 = map(np.uint64, (8, 13, 15, 16, 255))
_UNIT = 1.0 / 9007199254740992.0  # 2^-53
_2_32 = 4294967296.0
# CRC-32 of IEEE 802.3, a byte at a time.
_CRC = np.zeros(256, np.uint64)
for _byte in range(256):
    _state = _byte
    for _ in range(8):
        _state = _state >> 1 ^ (0xEDB88320 if _state & 1 else 0)
    _CRC[_byte] = _state


@inlined
def _mix(state: Any) -> Any:
    """SplitMix64's output function (Steele, Lea, Flood 2014)."""
    state = (state ^ (state >> _U30)) * _M1
    state = (state ^ (state >> _U27)) * _M2
    return state ^ (state >> _U31)


@inlined
def _unit(state: Any) -> float:
    """A number from 0 to below 1."""
    return np.float64(_mix(state) >> _U11) * _UNIT


@part
def request_crc(number: int) -> Any:
    """CRC-32 of the request's name, `f"{number:08x}"`, with 0 before it."""
    state = _LOW
    left = np.uint64(number)
    for place in range(8):
        digit = (left >> np.uint64(28 - 4 * place)) & _U15
        byte = digit + np.uint64(48) if digit < np.uint64(10) else digit + np.uint64(87)
        state = _CRC[np.int64((state ^ byte) & _U255)] ^ (state >> _U8)
    return state ^ _LOW


@part
def enters(request: Any, campaign: Any, share: float) -> bool:
    """What the gate decides, by the CRC of the request, and of the campaign moved on by the length of a request."""
    mixed = request ^ campaign
    mixed = ((mixed ^ (mixed >> _U16)) * _FMIX1) & _LOW
    mixed = ((mixed ^ (mixed >> _U13)) * _FMIX2) & _LOW
    return bool(np.float64(mixed ^ (mixed >> _U16)) < share * _2_32)


@kernel(read("i8"), read("u8"), read("f8"), written("?"))
def enter_all(requests: Ints, campaign: npt.NDArray[np.uint64], shares: Floats, entered: npt.NDArray[np.bool_]) -> None:
    """Which requests the campaign with this CRC enters, at a share for each: for the comparison with the gate."""
    if len(campaign) != 1 or len(shares) < len(requests) or len(entered) < len(requests):
        raise IndexError("there is not one campaign, or an array is shorter than the requests are many")
    for place in range(len(requests)):
        entered[place] = enters(request_crc(requests[place]), campaign[0], shares[place])


@kernel(
    *(read("i8"), read("f8"), read("f8"), read("f8"), read("i8"), read("f8", 2), read("f8"), read("f8", 2), read("f8")),
    *(read("f8"), read("f8"), read("u8"), read("f8", 3), read("i8"), read("i8", 2), written("f8", 3), written("f8", 2)),
    *(written("f8", 2), written("f8", 2), written("f8", 2), written("i8"), written("i8"), written("f8", 2)),
    *(written("i8"), written("f8", 2), written("f8", 2)),
    floats=True,
)
def play(
    span: Ints,
    level: Floats,
    outside: Floats,
    alias_share: Floats,
    alias: Ints,
    taste: Floats,
    bids: Floats,
    rates: Floats,
    told: Floats,
    outside_scores: Floats,
    delays: Floats,
    crcs: npt.NDArray[np.uint64],
    news: Floats,
    news_at: Ints,
    servers: Ints,
    held: Floats,
    counters: Floats,
    attributed: Floats,
    seen: Floats,
    seen_attributed: Floats,
    bucket: Ints,
    link: Ints,
    pending: Floats,
    free: Ints,
    spend_by_minute: Floats,
    clicks_by_minute: Floats,
) -> int:
    """Plays the seconds of `span`. Returns how many clicks are still to come, or -1: there was no room for all.

    `news` are the last published tables of decisions and `news_at` the seconds from which each may be used; `held` is
    what each server has. `bucket` is the first pending click of each second, `link` the next one of the same second.
    """
    seed, from_s, to_s, seen_s, window = span[SEED], span[FROM_S], span[TO_S], span[SEEN_S], span[WINDOW_S]
    campaigns, contexts, size = len(bids), rates.shape[1], len(bucket)
    if (
        to_s > 60 * min(len(level), len(outside), spend_by_minute.shape[1], clicks_by_minute.shape[1])
        or min(len(alias), len(alias_share), len(taste), len(rates), len(told), len(crcs)) < campaigns
        or min(len(counters), len(seen), len(attributed), len(seen_attributed)) < campaigns
        or min(news.shape[1], held.shape[1]) < campaigns
        or min(news.shape[2], held.shape[2]) < HELD
        or len(held) < len(servers)
        or size <= window + 1
        or len(news) < len(news_at)
        or len(link) < len(pending)
        or len(free) <= len(pending)
        or taste.shape[1] < 24
        or min(attributed.shape[1], seen_attributed.shape[1]) < QUARTERS_KEPT
        or min(counters.shape[1], seen.shape[1]) < COUNTERS
        or from_s < 0
    ):
        raise IndexError("an array of the market is too small")
    scale = np.float64(len(outside_scores)) / 9007199254740992.0
    delay_scale = np.float64(len(delays)) / 9007199254740992.0
    drawn = np.zeros(CANDIDATES, np.int64)
    for t in range(from_s, to_s):
        minute = t // 60
        hour = t % 86400 // 3600
        if t % 900 == 0:
            attributed[:, t // 900 % QUARTERS_KEPT] = 0.0
        for server in range(len(servers)):
            if t % servers[server, _SERVER_REFRESH] != server % servers[server, _SERVER_REFRESH]:
                continue
            newest = -1
            for place in range(len(news_at)):
                usable = 0 <= news_at[place] <= t - servers[server, _SERVER_LATE]
                if usable and (newest < 0 or news_at[place] > news_at[newest]):
                    newest = place
            if newest >= 0:
                for k in range(campaigns):
                    if news[newest, k, VERSION] > held[server, k, VERSION]:
                        held[server, k, :] = news[newest, k, :]
                        held[server, k, LEASE] /= len(servers)
        # -- clicks of this second
        each = bucket[t % size]
        bucket[t % size] = -1
        while each >= 0:
            who = np.int64(pending[each, WHO])
            counters[who, CLICKS] += 1.0
            counters[who, SPEND] += pending[each, PRICE]
            attributed[who, np.int64(pending[each, QUARTER]) % QUARTERS_KEPT] += 1.0
            spend_by_minute[who, minute] += pending[each, PRICE]
            clicks_by_minute[who, minute] += 1.0
            free[0] += 1
            free[free[0]] = each
            each = link[each]
        # -- auctions of this second, as many as Knuth's method draws from Poisson's distribution
        state = _mix(np.uint64(seed) * _GOLDEN + np.uint64(t))
        bound, product, auctions = np.exp(-level[minute]), 1.0, 0
        while auctions < MOST_PER_SECOND:
            state += _GOLDEN
            product *= _unit(state)
            if product <= bound:
                break
            auctions += 1
        for auction in range(auctions):
            number = t * MOST_PER_SECOND + auction
            state = _mix((np.uint64(seed) * _M1) ^ (np.uint64(number) * _GOLDEN))
            request = request_crc(number)
            server = auction % len(servers)
            state += _GOLDEN
            context = np.int64(_unit(state) * contexts)
            state += _GOLDEN
            beat = outside_scores[np.int64(np.float64(_mix(state) >> _U11) * scale)] * outside[minute]
            best, best_score, entered = np.int64(-1), 0.0, 0
            for _ in range(CANDIDATES):
                state += _GOLDEN
                drawn_at = _unit(state) * campaigns
                one = np.int64(drawn_at)
                if drawn_at - one >= alias_share[one]:
                    one = alias[one]
                state += _GOLDEN
                if _unit(state) >= taste[one, hour]:
                    continue
                again = False
                for earlier in range(entered):
                    again = again or drawn[earlier] == one
                if again:
                    continue
                drawn[entered] = one
                entered += 1
                if held[server, one, LEASE] <= 0.0:
                    continue
                share = held[server, one, ADMIT]
                if t >= held[server, one, VALID_UNTIL]:
                    share = min(share, held[server, one, SAFE_ADMIT])
                if not enters(request, crcs[one], share):
                    continue
                predicted = rates[one, context] * told[one]
                if predicted < held[server, one, LEAST_RATE]:
                    continue
                score = bids[one] * held[server, one, MULTIPLIER] * predicted
                if score > best_score:
                    if best >= 0 and best_score > beat:
                        beat = best_score
                    best, best_score = one, score
                elif score > beat:
                    beat = score
            if best < 0 or best_score <= beat:
                continue
            rate = rates[best, context]
            predicted = rate * told[best]
            price = beat / predicted
            counters[best, IMPRESSIONS] += 1.0
            counters[best, EXPECTED_CLICKS] += predicted
            counters[best, EXPECTED_SPEND] += price * predicted
            held[server, best, LEASE] -= price * predicted
            state += _GOLDEN
            if _unit(state) >= rate:
                continue
            state += _GOLDEN
            delay = delays[np.int64(np.float64(_mix(state) >> _U11) * delay_scale)]
            if delay > window:
                continue
            if free[0] == 0:
                return -1
            slot = free[free[0]]
            free[0] -= 1
            pending[slot, WHO], pending[slot, PRICE], pending[slot, QUARTER] = best, price, t // 900
            due = (t + max(int(delay), 1)) % size
            link[slot] = bucket[due]
            bucket[due] = slot
        if t == seen_s:
            seen[:, :] = counters[:, :]
            seen_attributed[:, :] = attributed[:, :]
    return int(len(pending) - free[0])
