"""Extra dimensions: features of impressions by which totals are counted separately, beside `schemas.totals.DIMENSIONS`.

They are declared once, and the declaration is part of the run. An impression that was shown before `since_ms` has none
of the dimension. So a dimension that is added to a run changes no total that was sent before: whoever computes a total,
and whenever, comes to the same names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from schemas.campaigns import CampaignChange
from schemas.errors import SettingsError
from schemas.events import MAX_ID_CHARS, MAX_TS_MS, MIN_TS_MS, Campaign, Click, Impression
from schemas.outcomes import Outcome
from schemas.totals import CampaignTotal, MinuteTotal

# Codes of names are compared four at a time, so that four take no more time and memory than one.
MAX_EXTRA: Final = 4
FEATURES: Final = "features."
NAME_PATTERN: Final = "[a-z][a-z0-9_]{0,62}"
_NAME: Final = re.compile(NAME_PATTERN)
# What JSON writes otherwise than it reads: a field with such a name is not found by its bytes.
_NOT_PLAIN: Final = re.compile(r'["\\\x00-\x1f\x7f]')
# A column of this name would stand beside another one in a table, a view or a query that joins them.
RESERVED: Final = frozenset(
    {
        *(name for kind in (Impression, Click, Campaign, CampaignChange) for name in kind.__struct_fields__),
        *(name for kind in (Outcome, MinuteTotal, CampaignTotal) for name in kind.__struct_fields__),
        *("run", "hour", "day", "inserted_at", "since", "made_by", "event_time", "click_time", "user_hash", "state"),
    }
)


class ExtraDimension(msgspec.Struct, frozen=True):
    """One extra dimension. Raises SettingsError for one that cannot be a column of totals."""

    name: str
    """The column of totals, views and queries."""
    source: str
    """Where an impression has it: `features.` and the name of a feature."""
    since_ms: int = 0
    """Impressions with a lower `ts` have none; 0: all may have one."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"{self.name!r} is no name for a column; use lower-case letters, digits and _, a letter first, at most "
                "63 characters, such as 'site'"
            )
        if self.name in RESERVED:
            raise SettingsError(f"{self.name} is the name of a column that clickfold has already; give it another")
        feature = self.feature
        if not self.source.startswith(FEATURES) or not feature or len(feature) > MAX_ID_CHARS:
            raise SettingsError(
                f"{self.name} is from {self.source[:80]!r}, which is no feature; write features. and its name, such as "
                f"'features.{self.name}'"
            )
        if _NOT_PLAIN.search(feature):
            raise SettingsError(f"{self.name} is from {self.source!r}; the name of a feature may have no quote or \\")
        if self.since_ms and not MIN_TS_MS <= self.since_ms <= MAX_TS_MS:
            raise SettingsError(f"{self.name} counts since {self.since_ms} ms; give a time from 2000 to 2099")

    @property
    def feature(self) -> str:
        """The feature that it is."""
        return self.source.removeprefix(FEATURES)

    def digest_text(self) -> str:
        """The whole declaration as text: what a run's digest has of it."""
        return f"{self.name}={self.source}@{self.since_ms}"


def checked_extra(dimensions: Sequence[ExtraDimension]) -> tuple[ExtraDimension, ...]:
    """The dimensions in the order of their names. Raises SettingsError for too many, or two of one name or source."""
    if len(dimensions) > MAX_EXTRA:
        raise SettingsError(f"{len(dimensions)} extra dimensions are declared; a run can have {MAX_EXTRA}")
    names = [dimension.name for dimension in dimensions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"the extra dimension {twice[0]} is declared twice; give it once")
    sources = [dimension.source for dimension in dimensions]
    if twice := sorted({source for source in sources if sources.count(source) > 1}):
        raise SettingsError(f"two extra dimensions are from {twice[0]}; give it one name")
    return tuple(sorted(dimensions, key=lambda dimension: dimension.name))


def digest_texts(dimensions: Sequence[ExtraDimension]) -> tuple[str, ...]:
    """What the digest of a run has of its extra dimensions; nothing for a run without any."""
    return tuple(dimension.digest_text() for dimension in dimensions)


def extra_names(impression: Impression, dimensions: Sequence[ExtraDimension]) -> tuple[str, ...]:
    """The impression's name in each of these dimensions, empty where it has none."""
    features = impression.features or {}
    return tuple(
        name_of(features.get(dimension.feature)) if impression.ts >= dimension.since_ms else ""
        for dimension in dimensions
    )


def name_of(value: Any) -> str:
    """The name that the value of a feature is: text, cut after 256 characters; true or false; or a whole number.

    Empty for an absent feature and for a number with a fraction, which names nothing.
    """
    if isinstance(value, str):
        return value[:MAX_ID_CHARS]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else ""
