"""The settings of a mixture: which fields it sees, which pairs and experts it has, and how late labels come."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from online_models.mixture.layout import FIELDS, NAMED
from schemas.errors import SettingsError

# The part of a name that stands before a name in `features`.
FEATURES: Final = "features."
PLAIN_FIELDS: Final = (*NAMED, "hour")
# Named fields get the first numbers, so that none of them shares the last one.
MOST_NAMES: Final = FIELDS - 1 - len(PLAIN_FIELDS)
_MOST_DELAY_MS: Final = 31 * 86_400_000
# By setting its key in a file, and its bounds. A slot has 112 bytes and a pair 32, so both have at most 2 GB; below 2^8
# nearly all categories share a slot. Pairs: all of 64 fields are 2,016.
WHOLE: Final = {
    "slot_bits": ("hash.slot_bits", 8, 24),
    "pair_bits": ("hash.pair_bits", 8, 26),
    "kept": ("crosses.kept", 0, 2_016),
    "kept_early": ("crosses.kept_early", 0, 2_016),
}
NAMES: Final = {
    "only": "fields.only",
    "leave_out": "fields.leave_out",
    "as_categories": "numbers.as_categories",
}
EXPERTS: Final = ("bayes", "ftrl", "adagrad", "counts", "novelty")


class MixtureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a mixture may look at and what it is made of. Raises SettingsError, which names the key of a file.

    `only` and `leave_out` have names of `PLAIN_FIELDS`, and names in `features` behind `FEATURES`. `as_categories` has
    such names too: numbers of which each value is a category.
    Of all pairs of fields `kept` are counted, `kept_early` in the first rows, none if `kept` is 0. Categories are
    hashed into 2^`slot_bits` slots, pairs into 2^`pair_bits`. A label is learned `delay_ms` after its row was shown.
    FTRL alone has no pairs and no other expert; it takes the rest.
    """

    delay_ms: int = 0
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    as_categories: tuple[str, ...] = ()
    kept: int = 100
    # Many pairs together say what no single one has shown yet.
    kept_early: int = 256
    slot_bits: int = 20
    pair_bits: int = 22
    bayes: bool = True
    ftrl: bool = True
    adagrad: bool = True
    counts: bool = True
    novelty: bool = True

    def __post_init__(self) -> None:
        for field, (key, least, most) in WHOLE.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise SettingsError(f"{key} is {value}; give a whole number from {least} to {most}")
        if not 0 <= self.delay_ms <= _MOST_DELAY_MS:
            raise SettingsError(f"delay is {self.delay_ms} ms; give a duration from 0s to 31d")
        for field, key in NAMES.items():
            self._check_names(key, getattr(self, field), numbers=field == "as_categories")
        if self.only and self.leave_out:
            raise SettingsError("fields.only and fields.leave_out are both given; give one of them")
        named = {name for field in NAMES for name in getattr(self, field) if name not in PLAIN_FIELDS}
        if len(named) > MOST_NAMES:
            raise SettingsError(f"fields and numbers name {len(named)} features; name at most {MOST_NAMES}")
        if not any(getattr(self, expert) for expert in EXPERTS):
            raise SettingsError("experts are all false; set at least one of them to true")

    def _check_names(self, key: str, names: tuple[str, ...], *, numbers: bool) -> None:
        for name in names:
            if not (name.startswith(FEATURES) and len(name) > len(FEATURES)) and (numbers or name not in PLAIN_FIELDS):
                allowed = "" if numbers else f"one of {', '.join(PLAIN_FIELDS)}, or "
                raise SettingsError(f"{key} has {name!r}, which is no field; give {allowed}features.NAME")
            if names.count(name) > 1:
                raise SettingsError(f"{key} has {name!r} twice; give it once")

    def as_data(self) -> dict[str, Any]:
        """All settings as a snapshot keeps them."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def changed(self) -> dict[str, Any]:
        """The settings that are not as they are by default: one that is added later changes no digest."""
        default = DEFAULTS.as_data()
        return {name: value for name, value in self.as_data().items() if value != default[name]}


DEFAULTS: Final = MixtureSettings()
