"""Where a value is within a record: names of fields, and places in lists, from the outside in."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

# A name, a place in a list, or a name in quotes that may have any character.
_STEP: Final = re.compile(r"""(?:^|\.)([^.\[\]"'*]+)|\[(-?\d+)\]|\[(?:"([^"]*)"|'([^']*)')\]""")


class FieldPath(NamedTuple):
    """A path such as `imp[0].banner.id` as written, and its steps: texts name fields, numbers are places in a list."""

    text: str
    steps: tuple[str | int, ...]


class FieldPattern(NamedTuple):
    """Fields of the object at `parent` (of the record itself where that has no steps) whose names match `glob`."""

    text: str
    parent: FieldPath
    glob: str

    def takes(self, name: str) -> bool:
        """Whether a field of the object has a matching name."""
        return fnmatchcase(name, self.glob)


def field_path(text: str) -> FieldPath:
    """The path that is written so; `$.` before it means the same. Raises ValueError that says what is wrong."""
    begin = text.removeprefix("$.") if text.startswith("$.") else text
    steps: list[str | int] = []
    at = 0
    while at < len(begin):
        step = _STEP.match(begin, at)
        if step is None or (at and step[1] is not None and begin[at] != "."):
            raise ValueError(f"{text!r} is no path from its character {at + 1} on: write a.b[0].c or a['any name']")
        steps.append(int(step[2]) if step[2] is not None else next(each for each in step.groups() if each is not None))
        at = step.end()
    if not steps or isinstance(steps[0], int):
        raise ValueError(f"{text!r} is no path: it begins with the name of a field")
    return FieldPath(text, tuple(steps))


def field_pattern(text: str) -> FieldPattern:
    """A path of which the last name has `*` for any characters. Raises ValueError that says what is wrong."""
    before, _, glob = text.rpartition(".")
    if "*" not in glob or "*" in before:
        raise ValueError(f"{text!r} is no pattern: its last name, and no other, has a *, as in context.* or f_*")
    return FieldPattern(text, field_path(before) if before else FieldPath("", ()), glob)


def walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    """The value at the end of the steps, None where there is none."""
    for step in steps:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        elif isinstance(value, list | tuple) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value
