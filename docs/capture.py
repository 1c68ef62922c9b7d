"""`make screens`: runs the commands of screens.toml in a pseudo-terminal and writes what it showed, as SVG or text."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.ansi import AnsiDecoder
from rich.console import Console

DOCS: Final = Path(__file__).parent
SCREENS: Final = DOCS / "screens.toml"
_BIN: Final = DOCS.parent / ".venv" / "bin"
# Settings of whoever runs this must not reach a screen.
_OURS: Final = re.compile(r"KAFKA_|CLICKHOUSE_|CLICKFOLD_|AWS_|COLUMNS$|LINES$|NO_COLOR$|FORCE_COLOR$")
_ESCAPE: Final = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)")
_SGR: Final = re.compile(r"\x1b\[[0-9;]*m")
# The temporary folder of a session, as a reader would have it.
_SHOWN_FOLDER = "/home/you/ads"
# More rows than any command prints: what scrolled away is part of the screen.
_ROWS: Final = 2_000
# A frame is written at once; a pause this long means it is complete.
_QUIET_S: Final = 0.05
_SVG: Final = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
  <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Terminal:
    """The lines a terminal shows, with their colours; as much of a terminal as Rich and plain output need."""

    def __init__(self) -> None:
        self._lines = [""]
        self._row = 0
        self._returned = False

    def write(self, text: str) -> None:
        """Takes output. Raises ValueError for a sequence that would need more of a terminal than this is."""
        for part in _ESCAPE.split(text):
            if part == "\r":
                self._returned = True
            elif part == "\n":
                self._down(1)
            elif not part.startswith("\x1b[") or part.endswith("m"):
                self._put(part)
            elif part.endswith("A"):
                self._row = max(0, self._row - int(part[2:-1] or 1))
            elif part.endswith("K"):
                self._lines[self._row] = ""
            elif not part.startswith("\x1b[?"):
                raise ValueError(f"the sequence {part!r} is not known here")

    def _put(self, text: str) -> None:
        if text and self._returned:
            self._lines[self._row] = ""
            self._returned = False
        self._lines[self._row] += text

    def _down(self, rows: int) -> None:
        self._row += rows
        self._returned = False
        while len(self._lines) <= self._row:
            self._lines.append("")

    def lines(self) -> list[str]:
        """From the top to the last line that is not empty, with colours."""
        last = max((at for at, line in enumerate(self.plain()) if line), default=-1)
        return self._lines[: last + 1]

    def plain(self) -> list[str]:
        """The same lines without colours and spaces at their ends."""
        return [_SGR.sub("", line).rstrip() for line in self._lines]


def cut(lines: list[str], first: str | None, last: str | None) -> list[str]:
    """The lines from the first that matches `first` to the last behind it that matches `last`, both included."""
    bare = [_SGR.sub("", line) for line in lines]
    start = next(at for at, line in enumerate(bare) if re.search(first, line)) if first else 0
    end = max(at for at, line in enumerate(bare) if re.search(last, line)) if last else len(lines) - 1
    return lines[start : end + 1]


def drawn(lines: list[str], *, columns: int, title: str, name: str) -> str:
    """An SVG of a terminal window, without fonts of others; the same lines give the same text."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True, color_system="standard")
        for line in lines:
            console.print(AnsiDecoder().decode_line(line), no_wrap=True, overflow="crop", highlight=False)
        return console.export_svg(title=title, code_format=_SVG, unique_id=f"terminal-{name}")


def written(lines: list[str], *, show: str, whole: bool) -> str:
    """The command behind a prompt and what it printed; "…" where the beginning is left out."""
    head = [f"$ {show}"] if whole else [f"$ {show}", "…"]
    return "\n".join([*head, *(_SGR.sub("", line).rstrip() for line in lines), ""])


def run_session(session: dict[str, Any]) -> None:
    """Runs the steps in a new folder and writes their screens. Raises RuntimeError when a command fails."""
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    path = f"{_BIN}{os.pathsep}{kept['PATH']}"
    environment = {**kept, "PATH": path, "DOCS": str(DOCS), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    with tempfile.TemporaryDirectory(prefix="clickfold-screens-") as folder:
        try:
            for step in session["step"]:
                _run_step(step, folder, environment, columns=session.get("columns", 100))
        finally:
            for command in session.get("finally", []):
                subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=False, capture_output=True)


def _run_step(step: dict[str, Any], folder: str, environment: dict[str, str], *, columns: int) -> None:
    print(f"$ {step['run']}", flush=True)
    terminal, waiting = Terminal(), [each for each in step.get("screen", []) if "at" in each]
    with _started(step["run"], folder, environment, columns) as (process, output):
        for text in output:
            terminal.write(text.replace(folder, _SHOWN_FOLDER))
            shown = "\n".join(terminal.plain())
            for screen in [each for each in waiting if re.search(each["at"], shown, re.MULTILINE)]:
                _save(screen, step, terminal, columns=columns)
                waiting.remove(screen)
        code = process.wait()
    if code != step.get("code", 0):
        raise RuntimeError(f"{step['run']} ended with {code}:\n" + "\n".join(terminal.plain()))
    if waiting:
        raise RuntimeError(f"{step['run']} never showed {waiting[0]['at']!r}")
    for screen in step.get("screen", []):
        if "at" not in screen:
            _save(screen, step, terminal, columns=columns)


def _save(screen: dict[str, Any], step: dict[str, Any], terminal: Terminal, *, columns: int) -> None:
    lines, show = cut(terminal.lines(), screen.get("first"), screen.get("last")), step.get("show", step["run"])
    target = DOCS / screen["file"]
    target.parent.mkdir(exist_ok=True)
    if target.suffix == ".svg":
        text = drawn(lines, columns=columns, title=show, name=target.stem)
    else:
        text = written(lines, show=show, whole="first" not in screen)
    target.write_text(text, encoding="utf-8")
    print(f"  {screen['file']}", flush=True)


@contextlib.contextmanager
def _started(
    command: str, folder: str, environment: dict[str, str], columns: int
) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[str]]]:
    """A command in a terminal of its own, and what it writes, a piece whenever it pauses."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield process, _pieces(ours)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
        os.close(ours)


def _pieces(descriptor: int) -> Iterator[str]:
    decoder, piece = codecs.getincrementaldecoder("utf-8")(), ""
    while True:
        ready, _, _ = select.select([descriptor], [], [], _QUIET_S if piece else None)
        if not ready:
            yield piece
            piece = ""
            continue
        try:
            read = os.read(descriptor, 65_536)
        except OSError:  # how Linux says that nobody holds the other side any more
            read = b""
        if not read:
            yield piece
            return
        piece += decoder.decode(read)


def main() -> None:
    """All sessions, or those named."""
    sessions = tomllib.loads(SCREENS.read_text(encoding="utf-8"))["session"]
    unknown = set(sys.argv[1:]) - {session["name"] for session in sessions}
    if unknown:
        sys.exit(f"there is no session {', '.join(unknown)} in {SCREENS.name}")
    for session in sessions:
        if not sys.argv[1:] or session["name"] in sys.argv[1:]:
            run_session(session)


if __name__ == "__main__":
    main()
