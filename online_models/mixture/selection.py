"""Which slots of rows a model sees: fields that are used, and numbers that are names."""

from __future__ import annotations

from typing import Final

import numpy as np

from online_models.mixture.rows import Fields, text_hash
from online_models.mixture.settings import FEATURES, MixtureSettings

# Any odd number with bits all over: it parts the key of a number's value from that of the number.
_STIRRED: Final = np.uint64(0xD6E8FEB86659FD93)


class Selection:
    """Slots by the settings of a model.

    With `reserve` it gives the named fields their numbers, so it is made before the first row. Without it, rows are
    read for another model, and a field has a number once a row had it.
    """

    def __init__(self, settings: MixtureSettings, known: Fields, *, reserve: bool = True) -> None:
        self._settings = settings
        named = (*settings.only, *settings.leave_out, *settings.as_categories)
        self._hashes = {
            name: text_hash(f".{name[len(FEATURES) :]}" if name.startswith(FEATURES) else name) for name in named
        }
        for hashed in self._hashes.values() if reserve else ():
            known.number(hashed)
        # Hashes of fields that a row had.
        self._seen = set[int]()

    def unseen(self) -> list[str]:
        """The names in the settings that no row had: most are mistyped."""
        return [name for name, hashed in self._hashes.items() if hashed not in self._seen]

    def _of_names(self, known: Fields, names: tuple[str, ...]) -> np.ndarray:
        return np.isin(known.hashes, np.array([self._hashes[name] for name in names], np.uint64))

    def of(
        self,
        known: Fields,
        start: np.ndarray,
        keys: np.ndarray,
        values: np.ndarray,
        numbers: np.ndarray,
        field_of: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The columns of the slots that are used: start, keys, values, numbers, fields, as `known` numbers them."""
        if not self._hashes:
            return start, keys, values, numbers, field_of
        settings = self._settings
        self._seen.update(known.hashes[np.unique(field_of)].tolist())
        category = self._of_names(known, settings.as_categories)
        if category.any():
            named = category[field_of] & (numbers != 0)
            # Adding 0 makes -0 and 0 one category.
            bits = (values + 0.0).view(np.uint64)
            keys = np.where(named, keys ^ (bits * _STIRRED + np.uint64(1)), keys)
            values, numbers = np.where(named, 1.0, values), np.where(named, np.uint8(0), numbers)
        uses = ~self._of_names(known, settings.leave_out)
        if settings.only:
            uses = self._of_names(known, settings.only)
        if not uses.all():
            used = uses[field_of]
            before = np.zeros(len(used) + 1, np.int64)
            np.cumsum(used, out=before[1:])
            start = before[start]
            keys, values, numbers, field_of = keys[used], values[used], numbers[used], field_of[used]
        return start, keys, values, numbers, field_of
