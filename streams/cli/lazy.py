"""Groups of commands that import the module of a command when it is called, not when it is listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from streams.cli.several import SeveralValues

# Typer cuts summaries at this many characters. Ours have at most 120, one line of code.
_SUMMARY_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command whose module is not imported yet.

    `target` is `module:name` of a function or of a `typer.Typer`. `help` repeats the first sentence of the command's
    own help; a test compares them.
    """

    target: str
    help: str


class Group(TyperGroup):
    """A group that lists its commands with the whole first sentence of their help, where Typer would cut it."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])

    def summary(self, ctx: Any, name: str) -> str:
        """The first sentence of a command's help."""
        command = self.get_command(ctx, name)
        return command.get_short_help_str(_SUMMARY_LENGTH) if command is not None else ""


def command_group(help_text: str, *, cls: type[Group] = Group, **more: Any) -> typer.Typer:
    """A group of commands with the settings that all groups share; `more` are further ones of `typer.Typer`.

    Help and errors are plain text, because importing rich takes 0.2 s of CPU.
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
        """Imports a command when it is called."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            # Typer reads the names from here to list commands and to suggest one for a misspelt name.
            self.commands = dict.fromkeys(commands)  # type: ignore[assignment]  # Typer uses only the names

        def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Typer's signature
            return load(cmd_name, commands[cmd_name]) if cmd_name in commands else None

        def summary(self, ctx: Any, name: str) -> str:  # noqa: ARG002  # as above
            return commands[name].help

    app = command_group(help_text, cls=LazyGroup, no_args_is_help=True)
    # Typer refuses a group without commands of its own, unless it has a callback.
    app.callback()(lambda: None)
    return app


def load(name: str, command: Lazy) -> Any:
    """Imports the module of a command and gives the command."""
    module, _, attribute = command.target.partition(":")
    group = getattr(import_module(module), attribute)
    if not isinstance(group, typer.Typer):
        function, group = group, command_group("")
        group.command(name, cls=SeveralValues)(function)
    loaded = typer.main.get_command(group)
    loaded.name = name
    return loaded
