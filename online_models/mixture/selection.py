"""Which slots of rows a model sees: fields that are used, and numbers that are names."""

from __future__ import annotations

from typing import Final

import numpy as np

from online_models.mixture.layout import FIELDS
from online_models.mixture.rows import Fields, text_hash
from online_models.mixture.settings import FEATURES, MixtureSettings

# Any odd number with bits all over: it parts the key of a number's value from that of the number.
_STIRRED: Final = np.uint64(0xD6E8FEB86659FD93)


class Selection:
    """Slots by the settings of a model. It gives the named fields their numbers, so it is made before the first row."""

    def __init__(self, settings: MixtureSettings, known: Fields) -> None:
        self._numbers = {
            name: known.number(text_hash(f".{name[len(FEATURES) :]}" if name.startswith(FEATURES) else name))
            for name in (*settings.only, *settings.leave_out, *settings.as_categories)
        }
        self._used = np.full(FIELDS, not settings.only)
        self._used[self._of_names(settings.only)] = True
        self._used[self._of_names(settings.leave_out)] = False
        self._category = np.zeros(FIELDS, np.bool_)
        self._category[self._of_names(settings.as_categories)] = True
        self._seen = np.zeros(FIELDS, np.bool_)

    def unseen(self) -> list[str]:
        """The names in the settings that no row had: most are mistyped."""
        return [name for name, number in self._numbers.items() if not self._seen[number]]

    def _of_names(self, names: tuple[str, ...]) -> list[int]:
        return [self._numbers[name] for name in names]

    def of(
        self, start: np.ndarray, keys: np.ndarray, values: np.ndarray, numbers: np.ndarray, field_of: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The columns of the slots that are used: start, keys, values, numbers, fields."""
        if self._numbers:
            self._seen[field_of] = True
        if self._category.any():
            named = self._category[field_of] & (numbers != 0)
            # Adding 0 makes -0 and 0 one category.
            bits = (values + 0.0).view(np.uint64)
            keys = np.where(named, keys ^ (bits * _STIRRED + np.uint64(1)), keys)
            values, numbers = np.where(named, 1.0, values), np.where(named, np.uint8(0), numbers)
        if not self._used.all():
            used = self._used[field_of]
            before = np.zeros(len(used) + 1, np.int64)
            np.cumsum(used, out=before[1:])
            start = before[start]
            keys, values, numbers, field_of = keys[used], values[used], numbers[used], field_of[used]
        return start, keys, values, numbers, field_of
