"""The state of a River estimator as plain data, by an allow-list of types, and back. Nothing of it is ever run.

A value is kept as itself, or as a list that begins with what it is. Objects are those of classes of a few of River's
packages, by name, with their attributes. Anything else is refused, with the way to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final

from river.utils import VectorDict

from schemas.errors import DamagedState

# Packages of River whose objects are their attributes and nothing else.
_ROOMS: Final = ("river.linear_model.", "river.naive_bayes.", "river.optim.", "river.stats.")
_FACTORIES: Final[dict[str, Callable[[], Any]]] = {"int": int, "float": float, "Counter": Counter, "dict": dict}
_PLAIN: Final = (bool, int, float, str, type(None))
# Deeper ones would be a loop.
_DEEPEST: Final = 12


class NotPlain(Exception):
    """A value that is not on the list. The text has its type, and the way to it."""


def packed(value: Any, way: str = "it", depth: int = 0) -> Any:
    """The value as plain data: equal values give equal data. Raises NotPlain."""
    if type(value) in _PLAIN:
        return value
    if depth > _DEEPEST:
        raise NotPlain(f"{way} goes deeper than {_DEEPEST} objects")

    def pairs(items: Iterable[tuple[Any, Any]], name: str = "") -> list[Any]:
        return [
            [packed(key, f"a key of {way}", depth + 1), packed(each, f"{way}{name}[{key!r}]", depth + 1)]
            for key, each in items
        ]

    if type(value) in (list, tuple):
        parts = [packed(each, f"{way}[{place}]", depth + 1) for place, each in enumerate(value)]
        return [type(value).__name__, parts]
    if type(value) in (dict, Counter):
        return [type(value).__name__, pairs(value.items())]
    if type(value) is VectorDict:
        return ["VectorDict", pairs(value.to_dict().items())]
    if type(value) is defaultdict:
        factory = getattr(value.default_factory, "__name__", "")
        if factory in _FACTORIES:
            return ["defaultdict", factory, pairs(value.items())]
    kind = type(value)
    if kind.__module__.startswith(_ROOMS) and hasattr(value, "__dict__") and not _slots(kind):
        attributes = [[name, packed(each, f"{way}.{name}", depth + 1)] for name, each in vars(value).items()]
        return ["object", f"{kind.__module__}.{kind.__qualname__}", attributes]
    raise NotPlain(f"{way} is a {kind.__module__}.{kind.__qualname__}")


def unpacked(data: Any) -> Any:
    """The value of what `packed` gave. Raises DamagedState for anything else."""
    if type(data) in _PLAIN:
        return data
    match data:
        case ["list", [*parts]]:
            return [unpacked(each) for each in parts]
        case ["tuple", [*parts]]:
            return tuple(unpacked(each) for each in parts)
        case ["dict", [*pairs]]:
            return _dict(pairs)
        case ["Counter", [*pairs]]:
            return Counter(_dict(pairs))
        case ["VectorDict", [*pairs]]:
            return VectorDict(_dict(pairs))
        case ["defaultdict", str(name), [*pairs]] if name in _FACTORIES:
            return defaultdict(_FACTORIES[name], _dict(pairs))
        case ["object", str(name), [*attributes]] if name.startswith(_ROOMS):
            return _object(name, attributes)
    raise DamagedState(f"the state of a River estimator has {str(data)[:60]}, which is nothing this program writes")


def _dict(pairs: list[Any]) -> dict[Any, Any]:
    return {unpacked(key): unpacked(value) for key, value in pairs}


def _object(name: str, attributes: list[Any]) -> Any:
    module, _, kind = name.rpartition(".")
    found = getattr(import_module(module), kind, None)
    if not isinstance(found, type) or _slots(found):
        raise DamagedState(f"the state of a River estimator has a {name}, which this River does not have")
    made: Any = object.__new__(found)
    vars(made).update({attribute: unpacked(value) for attribute, value in attributes})
    return made


def _slots(kind: type) -> bool:
    """Whether objects of a class may hold what is no attribute of theirs by name."""
    return any(getattr(each, "__slots__", ()) for each in kind.__mro__)
