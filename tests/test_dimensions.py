"""Extra dimensions: what may be declared, and what name an impression has in one."""

from __future__ import annotations

import pytest

from schemas.dimensions import (
    MAX_EXTRA,
    ExtraDimension,
    checked_extra,
    digest_texts,
    extra_names,
    name_of,
)
from schemas.errors import SettingsError
from schemas.events import MAX_TS_MS, MIN_TS_MS, Impression
from schemas.totals import DIMENSIONS, MEASURES

T0 = 1_700_000_000_000
SITE = ExtraDimension("site", "features.site")


def impression(ts: int = T0, **features: str | bool | int | float) -> Impression:
    return Impression(
        impression_id="i", ts=ts, campaign_id="c", creative_id="k", price_micros=1, features=features or None
    )


@pytest.mark.parametrize("name", ["", "Site", "1site", "my site", "site-id", "site;", "_site", "s" * 64])
def test_a_name_that_is_no_column_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="is no name for a column; use lower-case letters"):
        ExtraDimension(name, "features.site")
    assert ExtraDimension("s" * 63, "features.site").name


@pytest.mark.parametrize("name", [*DIMENSIONS, *MEASURES, "minute", "hour", "day", "run", "user_id", "timezone"])
def test_the_name_of_a_column_that_is_there_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is the name of a column that clickfold has already"):
        ExtraDimension(name, "features.site")


@pytest.mark.parametrize("source", ["", "site", "features", "features.", "user_id", "features." + "x" * 257])
def test_a_source_that_is_no_feature_is_refused(source: str) -> None:
    with pytest.raises(SettingsError, match=r"which is no feature; write features\. and its name, such as 'features"):
        ExtraDimension("site", source)
    assert ExtraDimension("site", "features." + "x" * 256).feature == "x" * 256


@pytest.mark.parametrize("feature", ['a"b', "a\\b", "a\nb"])
def test_a_feature_that_json_writes_otherwise_is_refused(feature: str) -> None:
    with pytest.raises(SettingsError, match="may have no quote"):
        ExtraDimension("site", f"features.{feature}")


@pytest.mark.parametrize("since_ms", [-1, 1, MIN_TS_MS - 1, MAX_TS_MS + 1])
def test_a_time_that_no_impression_can_have_is_refused(since_ms: int) -> None:
    with pytest.raises(SettingsError, match="give a time from 2000 to 2099"):
        ExtraDimension("site", "features.site", since_ms)
    assert [ExtraDimension("site", "features.site", each).since_ms for each in (0, MIN_TS_MS, MAX_TS_MS)]


def test_more_than_four_two_of_one_name_and_two_of_one_source_are_refused() -> None:
    many = [ExtraDimension(f"d{number}", f"features.f{number}") for number in range(MAX_EXTRA + 1)]
    assert len(checked_extra(many[:MAX_EXTRA])) == MAX_EXTRA
    with pytest.raises(SettingsError, match="5 extra dimensions are declared; a run can have 4"):
        checked_extra(many)
    with pytest.raises(SettingsError, match="the extra dimension site is declared twice"):
        checked_extra([SITE, ExtraDimension("site", "features.other")])
    with pytest.raises(SettingsError, match=r"two extra dimensions are from features\.site"):
        checked_extra([SITE, ExtraDimension("place", "features.site")])


def test_the_order_of_a_declaration_means_nothing_and_all_it_says_is_in_the_digest() -> None:
    other = ExtraDimension("page", "features.page", T0)
    assert checked_extra([SITE, other]) == checked_extra([other, SITE]) == (other, SITE)
    assert digest_texts((other, SITE)) == (f"page=features.page@{T0}", "site=features.site@0")
    assert digest_texts(()) == ()


def test_the_name_is_text_cut_after_256_characters_a_truth_or_a_whole_number() -> None:
    given = ["a", "", "x" * 257, "é" * 300, True, False, 0, -7, 2**63 - 1, 1.5, 2.0, None]
    wanted = ["a", "", "x" * 256, "é" * 256, "true", "false", "0", "-7", str(2**63 - 1), "", "", ""]
    assert [name_of(value) for value in given] == wanted


def test_an_impression_has_no_name_before_the_time_from_which_a_dimension_counts() -> None:
    dimensions = (SITE, ExtraDimension("page", "features.p q", T0))
    shown: dict[str, str | bool | int | float] = {"site": "s", "p q": 3}
    assert extra_names(impression(T0 - 1, **shown), dimensions) == ("s", "")
    assert extra_names(impression(T0, **shown), dimensions) == ("s", "3")
    assert extra_names(impression(T0), dimensions) == ("", "")
