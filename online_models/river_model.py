"""A River classifier as a model: by its dotted name, with its default settings, fed with the hashed slots of rows.

A category is a feature of value 1 and a number has its value, as in `mixture.plain`. A classifier whose `learn_one`
takes a weight is given it; another learns each row once, so with sampled negatives its predictions are too high. River
takes nothing back, so a negative stays learned when a click comes; see `policies`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import msgspec
import numpy as np
from river import base

from online_models.mixture.actions import CLICKED, LEARN, SHOW, Actions
from online_models.mixture.row_model import NO_GRADIENTS, RowModel
from online_models.mixture.rows import Fields, Rows
from online_models.mixture.settings import DEFAULTS, MixtureSettings
from online_models.mixture.snapshot import decode_snapshot
from online_models.river_state import NotPlain, packed, unpacked
from schemas.errors import DamagedState, SettingsError

# A prediction is strictly between 0 and 1.
_LEAST: Final = 1e-15
# Lines of a snapshot that are zeros take no space.
_LINE: Final = 64


class RiverModel(RowModel):
    """A classifier of River. Raises SettingsError for a name that is none, and for one that is not plain data."""

    def __init__(self, name: str, settings: MixtureSettings = DEFAULTS, known: Fields | None = None) -> None:
        super().__init__(settings, known)
        self.kind = name  # type: ignore[misc]  # one class for all kinds of River
        self._classifier: Any = _classifier(name)
        self._weighted = "w" in inspect.signature(self._classifier.learn_one).parameters
        self._trained = 0
        self._check()

    def _check(self) -> None:
        """Learns a little apart, saves it and goes on: what comes back must learn the same."""
        apart = _classifier(self.kind)
        try:
            for number in range(20):
                apart.learn_one({number % 3: 1.0, 9: 0.5 * number}, number % 4 == 0)
            again = unpacked(packed(apart))
            for each in (apart, again):
                each.learn_one({1: 1.0, 9: 2.0}, True)
            same = packed(apart) == packed(again)
        except NotPlain as error:
            raise SettingsError(
                f"{self.kind} cannot be saved as plain data: {error}; give another classifier, such as "
                "river.linear_model.LogisticRegression"
            ) from error
        if not same:
            raise SettingsError(f"{self.kind} learns otherwise once it is saved as plain data; give another classifier")

    def act(self, rows: Rows, actions: Actions, gradients: np.ndarray = NO_GRADIENTS) -> None:  # noqa: ARG002
        for row, kind, weight in zip(*(column.tolist() for column in actions), strict=True):
            slots = slice(int(rows.start[row]), int(rows.start[row + 1]))
            given: dict[int, float] = {}
            for key, value in zip(rows.keys[slots].tolist(), rows.values[slots].tolist(), strict=True):
                given[key] = given.get(key, 0.0) + value
            if kind & SHOW:
                chance = self._classifier.predict_proba_one(given).get(True, 0.0)
                rows.predicted[row] = min(1.0 - _LEAST, max(_LEAST, float(chance)))
            if not kind & LEARN:
                continue
            label = bool(kind & CLICKED)
            if self._weighted:
                self._classifier.learn_one(given, label, w=weight)
            else:
                self._classifier.learn_one(given, label)
            self._trained += 1

    def _state(self) -> tuple[np.ndarray, ...]:
        data = msgspec.msgpack.encode([self._trained, packed(self._classifier)])
        padded = data + bytes(-len(data) % _LINE)
        return np.array([len(data)], np.int64), np.frombuffer(padded, np.uint8).reshape(-1, _LINE)

    def _weights(self, state: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:  # noqa: ARG002
        return ()

    @property
    def nbytes(self) -> int:
        """About what the classifier takes: a hundred bytes a weight."""
        return 100 * len(getattr(self._classifier, "_weights", ()))

    def shares(self) -> dict[str, float]:
        return {self.kind: 1.0}

    def restore(self, *saved: bytes) -> None:
        # Each has the whole state, because what of a classifier has changed is not known.
        found = decode_snapshot(saved[-1], {"kind": self.kind, **self.config()})
        length, state, hashes, *waiting = (kept.whole() for kept in found)
        try:
            trained, plain = msgspec.msgpack.decode(state.tobytes()[: int(length[0])])
            classifier = unpacked(plain)
        except (ValueError, TypeError) as error:
            raise DamagedState(f"the snapshot of a {self.kind} is not what was written: {error}") from error
        if type(classifier) is not type(self._classifier):
            raise DamagedState(f"the snapshot of a {self.kind} has a {type(classifier).__name__}")
        self._classifier, self._trained = classifier, trained
        self.known.take(hashes)
        self._waiting = Rows(*waiting)


def _classifier(name: str) -> Any:
    module, _, kind = name.rpartition(".")
    try:
        found = getattr(import_module(module), kind, None) if module.startswith("river.") else None
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, base.Classifier)):
        raise SettingsError(f"{name[:80]!r} is no classifier of River; give one such as river.linear_model.Perceptron")
    try:
        return found()
    except TypeError as error:
        raise SettingsError(f"{name} cannot be made with its defaults: {error}; give another classifier") from error
