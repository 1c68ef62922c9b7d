"""The page "Your own data in ten minutes" can be followed literally: its commands print what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "start" / "your-own-data.md"
MARK = "@@ends@@"


def steps() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it shows."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def test_each_command_of_the_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    script = "".join(f"{command}\necho {MARK}\n" for command, _ in steps())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script}"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    printed = ended.stdout.split(f"{MARK}\n")[:-1]
    assert len(printed) == len(steps()) > 8
    for (command, shown), text in zip(steps(), printed, strict=True):
        # A line of dots stands for any lines.
        expected = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line) + "\n" for line in shown)
        assert re.fullmatch(expected, text), f"{command} prints\n{text}"
