"""Screens of the documents: how a terminal's output becomes one, and that each comes from a command."""

from __future__ import annotations

import io
import re
import tomllib
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from docs.capture import SCREENS, Terminal, cut, drawn, run_session, written

DOCS = SCREENS.parent


def test_a_frame_that_is_drawn_again_replaces_the_one_before() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=40, height=40, color_system="standard")
    terminal = Terminal()
    with Live(Text("1 %\nslow"), console=console, auto_refresh=False) as live:
        live.update(Text("54 %\nfast\nwide", style="green"), refresh=True)
        terminal.write(output.getvalue())
        assert terminal.plain() == ["54 %", "fast", "wide"]
        console.print("said meanwhile")
        live.update(Text("100 %"), refresh=True)
    ended = Terminal()
    ended.write(output.getvalue())
    assert [line for line in ended.plain() if line] == ["said meanwhile", "100 %"]
    assert "\x1b[" in "".join(terminal.lines())


def test_what_needs_more_of_a_terminal_is_refused() -> None:
    with pytest.raises(ValueError, match="is not known here"):
        Terminal().write("\x1b[10;10Hhere")


def test_a_screen_keeps_the_lines_between_its_patterns() -> None:
    lines = ["warning", "\x1b[1mhead\x1b[0m", "a", "b", "tail", "more"]
    assert cut(lines, "^head", "^tail") == lines[1:5]
    assert cut(lines, None, None) == lines
    assert written(lines[1:3], show="make x", whole=False) == "$ make x\n…\nhead\na\n"


def test_a_drawing_is_the_same_each_time_and_loads_nothing() -> None:
    shown = drawn(["\x1b[32mgreen\x1b[0m & <plain>"], columns=40, title="a & b", name="x")
    assert shown == drawn(["\x1b[32mgreen\x1b[0m & <plain>"], columns=40, title="a & b", name="x")
    assert "a&#160;&amp;&#160;b" in shown
    assert "&lt;plain&gt;" in shown
    assert set(re.findall(r"https?://[^\"]+", shown)) == {"http://www.w3.org/2000/svg"}


def test_a_session_writes_what_its_commands_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.capture.DOCS", tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "mine:9092")
    working = "printf 'half\\rat 50 %%\\ndone\\n'; echo \"[$KAFKA_BOOTSTRAP_SERVERS]\" >> kept"
    run_session(
        {
            "columns": 40,
            "step": [
                {"run": "echo made > kept"},
                {"run": working, "screen": [{"file": "a/half.svg", "at": "50 %"}, {"file": "a/end.txt"}]},
                {"run": "cat kept", "screen": [{"file": "a/kept.txt"}]},
            ],
            "finally": [f"touch {tmp_path}/ended"],
        }
    )
    assert "50" in (tmp_path / "a/half.svg").read_text(encoding="utf-8")
    assert (tmp_path / "a/end.txt").read_text(encoding="utf-8").endswith("\nat 50 %\ndone\n")
    assert (tmp_path / "a/kept.txt").read_text(encoding="utf-8") == "$ cat kept\nmade\n[]\n"
    assert (tmp_path / "ended").exists()


def test_a_command_that_fails_or_never_shows_the_moment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        run_session({"step": [{"run": "exit 3"}]})
    never = {"run": "true", "screen": [{"file": str(tmp_path / "x.txt"), "at": "nothing"}]}
    with pytest.raises(RuntimeError, match="never showed 'nothing'"):
        run_session({"step": [never]})


def test_every_screen_in_the_documents_comes_from_a_command() -> None:
    sessions = tomllib.loads(SCREENS.read_text(encoding="utf-8"))["session"]
    steps = [step for session in sessions for step in session["step"]]
    files = {screen["file"] for step in steps for screen in step.get("screen", [])}
    kept = {path.relative_to(DOCS).as_posix() for path in [*DOCS.glob("*.svg"), *(DOCS / "screens").iterdir()]}
    assert kept == files
