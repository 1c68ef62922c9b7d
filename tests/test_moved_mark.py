"""What `clickfold upgrade` makes of the mark of fold version 1."""

from __future__ import annotations

import pytest
import xxhash

from schemas.bounds import NO_BOUND_MS, JoinBounds
from schemas.codec import encode
from schemas.dimensions import ExtraDimension
from schemas.errors import StateMismatch
from schemas.events import MAX_TS_MS
from streams.join.identity import JoinIdentity
from streams.join.mark import JoinMark, LogMark, read_mark
from streams.join.moved import extended_mark, former_digest, moved_mark
from streams.join.state import DecisionCounts, FateCounts, Reached

OFFSETS = {"impressions": 70, "clicks": 9}


def mark(digest: str, close_ms: int = 5, orphan_ms: int = 6) -> JoinMark:
    logs = LogMark(FateCounts(accepted=3), 7, 1_000), LogMark(FateCounts(accepted=2), 1, 900)
    return JoinMark(4, 2, digest, Reached(close_ms=close_ms, orphan_ms=orphan_ms, final_ms=1), *logs, DecisionCounts())


def moved(of: JoinMark) -> JoinMark:
    made = moved_mark(encode(of), former="old", digest="new", offsets=OFFSETS)
    assert made is not None
    return read_mark(made)


def test_a_mark_is_written_again_with_the_new_digest_and_the_cut_and_all_else_stays() -> None:
    before, after = mark("old"), moved(mark("old"))
    assert (after.digest, after.impressions.moved_offset, after.clicks.moved_offset) == ("new", 70, 9)
    assert (after.epoch, after.sequence, after.reached, after.finished) == (4, 2, before.reached, False)
    assert (after.impressions.fates.accepted, after.impressions.rebuild_offset) == (3, 7)


def test_a_mark_of_this_version_stays_and_one_of_other_settings_is_refused() -> None:
    assert moved_mark(encode(mark("new")), former="old", digest="new", offsets=OFFSETS) is None
    with pytest.raises(StateMismatch, match=r"settings other; .* has old"):
        moved_mark(encode(mark("other")), former="old", digest="new", offsets=OFFSETS)


@pytest.mark.parametrize(
    ("close_ms", "orphan_ms", "finished"),
    [
        (MAX_TS_MS, MAX_TS_MS + 1, False),
        (MAX_TS_MS + 1, MAX_TS_MS, False),
        (MAX_TS_MS + 1, MAX_TS_MS + 1, True),
    ],
)
def test_a_cut_above_every_possible_time_is_the_end_of_both_logs(close_ms: int, orphan_ms: int, finished: bool) -> None:
    assert moved(mark("old", close_ms, orphan_ms)).finished == finished


def test_the_former_digest_is_that_of_version_1_which_had_no_jump_bound() -> None:
    bounds = JoinBounds(window_ms=7, jump_ms=0)
    plain = (bounds.window_ms, bounds.skew_ms, bounds.lateness_ms, bounds.future_ms, bounds.dedupe_ms)
    expected = xxhash.xxh3_64_hexdigest(encode([1, *plain, bounds.negative_rate, "device"]))
    assert former_digest(bounds, "device") == expected
    assert former_digest(JoinBounds(window_ms=7, jump_ms=900), "device") == expected
    assert former_digest(JoinBounds(window_ms=8), "device") != expected


# Extra dimensions that are added.

T0 = 1_700_000_000_000
SITE, PAGE = ExtraDimension("site", "features.site"), ExtraDimension("page", "features.page", T0)


def identity(*extra: ExtraDimension) -> JoinIdentity:
    return JoinIdentity(JoinBounds(), ("device",), extra, ("topic", "2", "1"))


def test_a_group_without_extra_dimensions_has_the_digest_it_always_had() -> None:
    assert identity().digest == JoinBounds().digest("device", "topic", "2", "1")
    assert identity().before == {}


def test_the_digests_before_are_those_of_every_smaller_declaration() -> None:
    assert identity(PAGE, SITE).before == {
        identity(SITE).digest: (PAGE,),
        identity(PAGE).digest: (SITE,),
        identity().digest: (PAGE, SITE),
    }
    other = ExtraDimension("site", "features.other")
    assert identity(other).digest not in {*identity(PAGE, SITE).before, identity(SITE).digest}


def extended(of: JoinMark, shown_ms: int) -> JoinMark | None:
    made = extended_mark(encode(of), "new", {"old": (PAGE,)}, lambda: shown_ms)
    return None if made is None else read_mark(made)


def test_a_mark_to_which_a_dimension_is_added_has_the_new_digest_and_all_else_stays() -> None:
    before = mark("old")
    assert extended(before, T0 - 1) == JoinMark(
        *(before.epoch, before.sequence, "new", before.reached, before.impressions, before.clicks, before.decisions)
    )
    assert extended(mark("other"), T0 - 1) is None


def test_a_dimension_that_would_count_impressions_already_sent_is_refused() -> None:
    wanted = r"page counts since 2023-11-14T22:13:20Z, but impressions up to 2023-11-14T22:13:20Z may be counted"
    with pytest.raises(StateMismatch, match=wanted):
        extended(mark("old"), T0)
    with pytest.raises(StateMismatch, match="site counts since the beginning, but"):
        extended_mark(encode(mark("old")), "new", {"old": (SITE,)}, lambda: T0)
    assert extended_mark(encode(mark("old")), "new", {"old": (SITE,)}, lambda: NO_BOUND_MS) is not None
