"""What a message advises exists: every option and command named in one is in the command tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from streams.cli.reference.commands import commands

ROOT = Path(__file__).parent.parent
# Programs with options of their own: Java, the embedded servers, the generators, protoc.
PROGRAMS = (
    *("streams/embedded/", "streams/cli/reference/", "schemas/generate.py", "schemas/clickhouse/samples.py"),
    "streams/ingest/protobuf.py",
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
COMMAND = re.compile(r"`clickfold ((?:[a-z]+)(?: [a-z]+)?)")


def messages() -> Iterator[tuple[str, str]]:
    """Where each string of the program stands, and the string; docstrings are not shown to users of a command."""
    for layer in ("schemas", "online_models", "streams"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith(PROGRAMS):
                continue
            tree = ast.parse(path.read_text())
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    yield f"{name}:{node.lineno}", node.value


def test_every_option_that_a_message_names_exists() -> None:
    # The last is curl's.
    known = {"--help", "--version", "--netrc-file"}
    for command in commands():
        for each in command.parameters:
            known |= set(OPTION.findall(each.names))
    named = [(place, option) for place, text in messages() for option in OPTION.findall(text)]
    assert len(named) > 50, "options are named in a way this test does not see"
    assert [each for each in named if each[1] not in known] == []


def test_every_command_that_a_message_names_exists() -> None:
    known = {" ".join(command.words) for command in commands()}
    named = [(place, words) for place, text in messages() for words in COMMAND.findall(text)]
    assert len(named) > 10, "commands are named in a way this test does not see"
    missing = [each for each in named if each[1] not in known and each[1].split()[0] not in known]
    assert missing == []


def test_no_message_advises_what_only_the_program_can_set() -> None:
    """An id of Faust's app, or a field of a settings class, is nothing that a command takes."""
    for place, text in messages():
        assert "app id" not in text, place
        assert "(accept_loss)" not in text, place
