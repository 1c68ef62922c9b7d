"""`reference/cli.md`: every command with its options, read off the command tree that `clickfold` itself runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer

from streams.cli.app import app
from streams.cli.reference.markdown import NONE, code, page, prose, table

_COMPUTED: Final = re.compile(r"\s*\[default: ([^\]]*)\]")
_TYPES: Final = {"str": "text", "int": "integer", "float": "number", "Path": "path"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option or argument as its reader sees it. `default` is Markdown, empty where leaving it out means nothing."""

    names: str
    type: str
    default: str
    variables: tuple[str, ...]
    text: str
    is_option: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command by its words behind `clickfold`; `groups` have commands below them."""

    words: tuple[str, ...]
    text: str
    parameters: tuple[Parameter, ...]
    is_group: bool

    @property
    def line(self) -> str:
        """As it is typed."""
        return " ".join(("clickfold", *self.words))


def commands() -> list[Command]:
    """Every command and group but `clickfold` itself, groups in front of what is below them."""
    return list(_below(typer.main.get_command(app), ()))


def _below(group: Any, words: tuple[str, ...]) -> Iterator[Command]:
    context = group.context_class(group, info_name=" ".join(("clickfold", *words)))
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        is_group = hasattr(command, "list_commands")
        found = tuple(_parameter(each) for each in command.params if not getattr(each, "hidden", False))
        yield Command((*words, name), prose(command.help or ""), found, is_group)
        if is_group:
            yield from _below(command, (*words, name))


def _parameter(found: Any) -> Parameter:
    is_option = found.param_type_name == "option"
    if is_option:
        opposites = f" / {', '.join(map(code, found.secondary_opts))}" if found.secondary_opts else NONE
        names = ", ".join(map(code, found.opts)) + opposites
    else:
        names = code(found.metavar or found.name.upper())
    text, computed = found.help or "", _COMPUTED.search(found.help or "")
    if computed:
        text = _COMPUTED.sub("", text)
    variables = [found.envvar] if isinstance(found.envvar, str) else list(found.envvar or ())
    return Parameter(
        names=names,
        type=_type(found),
        default=computed[1] if computed else _default(found),
        variables=tuple(variables),
        text=text.strip(),
        is_option=is_option,
        required=found.required,
    )


def _type(found: Any) -> str:
    if getattr(found, "is_flag", False):
        return "flag"
    kind = found.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(code(member.value) for member in kind)
    name: str = found.metavar or getattr(kind, "__name__", str(kind))
    if getattr(kind, "__origin__", None) is list:
        return "paths, any number" if kind.__args__ == (Path,) else "text, repeatable"
    low, high = found.min, found.max
    bounds = f", {low} to {high}" if None not in (low, high) else f", from {low}" if low is not None else NONE
    return _TYPES.get(name, name) + bounds


def _default(found: Any) -> str:
    value = found.default
    if found.required:
        return "required"
    if value is None or value == "" or value is False or not found.show_default:
        return NONE
    if value is True:
        return code(found.opts[0])
    return code(value.value if isinstance(value, Enum) else value)


def cli_page() -> str:
    """The page."""
    found = commands()
    listed = table(
        ("command", "what it does"),
        ((f"[`{each.line}`](#{_anchor(each)})", each.text.partition("\n\n")[0]) for each in found if not each.is_group),
    )
    intro = (
        "Every command prints its help with `--help`; `clickfold --version` prints the version. Exit codes are listed "
        "in [errors and exit codes](errors.md); options that several commands share and environment variables in "
        "[settings](settings.md)."
    )
    return page("Commands", intro, listed, *(part for each in found for part in _parts(each)))


def _anchor(command: Command) -> str:
    return "-".join(("clickfold", *command.words))


def _parts(command: Command) -> Iterator[str]:
    yield f"## {command.line}"
    yield command.text
    if command.parameters:
        head = ("argument or option", "value", "default", "environment", "meaning")
        yield table(
            head,
            (
                (each.names, each.type, each.default, ", ".join(map(code, each.variables)), each.text)
                for each in command.parameters
            ),
        )
