"""Labelled rows as other programs read them: Vowpal Wabbit as text, River as features by name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from string import ascii_letters
from typing import Final

from online_models.features import scaled
from online_models.mixture.examples import Example
from online_models.mixture.layout import NAMED
from schemas.totals import HOUR_MS

# What separates words, namespaces and values in a row.
_SIGNS: Final = str.maketrans(" :|\n", "____")


def fields_of(example: Example) -> Iterator[tuple[str, str | float]]:
    """The features that clickfold uses, by field: a category as text, a number by its logarithm.

    Booleans of one prefix, such as tags, are one field; a tag that is not there says so.
    """
    for name in NAMED:
        value = getattr(example, name)
        if value is not None:
            yield name, value
    yield "hour", str((example.ts or 0) // HOUR_MS % 24)
    for name, value in (example.features or {}).items():
        if isinstance(value, bool):
            yield f".{name[: name.find('_') + 1] or name}", name if value else f"no_{name}"
        elif isinstance(value, str):
            yield f".{name}", value
        elif math.isfinite(value):
            yield f".{name}", scaled(value)


class Texts:
    """Rows as text. Each field has a namespace; those after the 52nd share the last one, as pairs know one letter."""

    def __init__(self) -> None:
        self._spaces: dict[str, str] = {}

    def line(self, example: Example) -> str:
        """Label, weight if it is not 1, and the features."""
        inside: dict[str, list[str]] = {}
        for field, value in fields_of(example):
            word = f"v:{value:.6g}" if isinstance(value, float) else value.translate(_SIGNS) or "_"
            inside.setdefault(self._space(field), []).append(word)
        start = ("1" if example.label else "-1") + ("" if example.weight == 1.0 else f" {example.weight:.9g}")
        return start + "".join(f" |{space} {' '.join(words)}" for space, words in inside.items())

    def _space(self, field: str) -> str:
        return self._spaces.setdefault(field, ascii_letters[min(len(self._spaces), len(ascii_letters) - 1)])


def river_features(example: Example) -> dict[str, float]:
    """The same by name: a category has its own, and the value 1."""
    return {
        (field if isinstance(value, float) else f"{field}={value}"): value if isinstance(value, float) else 1.0
        for field, value in fields_of(example)
    }
