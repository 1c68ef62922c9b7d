"""`clickfold … --help` shows the default of every option that has one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from typer.testing import CliRunner

from streams.cli.reference.commands import Command


def squeezed(text: str) -> str:
    """Without spaces: help is broken into lines anywhere."""
    return re.sub(r"\s", "", text)


def helps() -> Iterator[tuple[Command, str]]:
    """Every command with its help, squeezed."""
    from streams.cli.app import app
    from streams.cli.reference.commands import commands  # loads every command, which collecting tests must not

    for command in commands():
        shown = CliRunner().invoke(app, [*command.words, "--help"])
        assert shown.exit_code == 0, shown.output
        yield command, squeezed(shown.output)


def test_help_shows_every_default() -> None:
    missing = [
        f"{command.line} {each.names}: {each.default}"
        for command, shown in helps()
        for each in command.parameters
        if each.default and each.default != "required"
        # In words it is in round brackets; behind an environment variable it is not the first in the square ones.
        if squeezed(f"default:{each.default.strip('`').lstrip('-')}") not in shown.replace("default:(", "default:")
    ]
    assert missing == []


def test_help_shows_every_text_whole() -> None:
    missing = [
        f"{command.line} {each.names}"
        for command, shown in helps()
        for each in command.parameters
        if squeezed(each.text) not in shown
    ]
    assert missing == []
