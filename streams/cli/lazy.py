"""A group of commands that imports the module of a command when the command is called, not when it is listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from streams.cli.several import SeveralValues

_LONGEST_SUMMARY: Final = 300  # characters; none of ours is longer


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet.

    `place` is `module:name` of a function or of a `typer.Typer`. `help` is the first sentence of the command's own
    help; a test compares them.
    """

    place: str
    help: str


class Group(TyperGroup):
    """A group that lists its commands with the whole first sentence of their help; Typer cuts it off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])

    def summary(self, ctx: Any, name: str) -> str:
        """The first sentence of a command's help."""
        command = self.get_command(ctx, name)
        return command.get_short_help_str(_LONGEST_SUMMARY) if command is not None else ""


def command_group(help_text: str, *, cls: type[Group] = Group, **more: Any) -> typer.Typer:
    """A group of commands with the settings that all have in common. `more` are further settings of `typer.Typer`.

    Help and errors are plain text: rich takes 0.2 s of CPU to import.
    """
    return typer.Typer(
        help=help_text,
        cls=cls,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 120},
        **more,
    )


def lazy_group(commands: Mapping[str, Lazy], help_text: str) -> typer.Typer:
    """A group of these commands, listed in this order."""

    class LazyGroup(Group):
        """Loads a command when it is called."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            # Typer looks for names here when it lists or suggests some.
            self.commands = dict.fromkeys(commands)  # type: ignore[assignment]  # Typer uses only the names

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Typer's signature
            return load(cmd_name, commands[cmd_name]) if cmd_name in commands else None

        def summary(self, ctx: Any, name: str) -> str:  # noqa: ARG002  # as above
            return commands[name].help

    app = command_group(help_text, cls=LazyGroup, no_args_is_help=True)
    # Without a callback Typer refuses a group that has no commands yet.
    app.callback()(lambda: None)
    return app


def load(name: str, command: Lazy) -> Any:
    """The command itself; imports its module."""
    module, _, attribute = command.place.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, command_group("")
        target.command(name, cls=SeveralValues)(function)
    loaded = typer.main.get_command(target)
    loaded.name = name
    return loaded
