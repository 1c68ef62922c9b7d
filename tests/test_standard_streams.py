"""Output that cannot be written ends in one sentence and a code that says so, whichever command wrote it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import T0, click_json, impression_json

NO_ROOM = "clickfold: standard output cannot be written: No space left on device; redirect it to another file\n"
CLOSED = "clickfold: standard output is closed; redirect it to another file\n"


def shell(folder: Path, line: str) -> tuple[int, str, str]:
    """The code, standard output and standard error of a line of shell; `fold` and `clickfold` run this program."""
    (folder / "i").write_bytes(b"".join(impression_json(f"i{n}", T0 + n) + b"\n" for n in range(2_000)))
    (folder / "c").write_bytes(click_json("k", "i7", T0 + 9))
    begin = f'set -o pipefail; clickfold() {{ {sys.executable} -m streams.cli "$@"; }}; cd {folder};'
    fold = "fold() { clickfold fold --impressions i --clicks c; };"
    command = ["bash", "-c", f"export PYTHONPATH={Path.cwd()}; {begin} {fold} {line}"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("fold > /dev/full", 2, NO_ROOM),
        ("clickfold --version > /dev/full", 2, NO_ROOM),
        ("clickfold query --explain over_budget > /dev/full", 2, NO_ROOM),
        ("fold >&-", 2, CLOSED),
        ("clickfold --version >&-", 2, CLOSED),
        ("fold 2> /dev/full | wc -l > lines", 2, ""),
        ("clickfold fold --impressions i --clicks nowhere 2> /dev/full", 2, ""),
        ("fold 2>&- | wc -l > lines", 0, ""),
        ("fold >&- 2>&- <&-", 2, ""),
        ("fold | head -c 1 > first", 141, ""),
        ("export PYTHONUNBUFFERED=1; fold | head -c 1 > first", 141, ""),
        ("unset PYTHONUNBUFFERED; fold | head -c 1 > first", 141, ""),
    ],
)
def test_output_that_cannot_be_written_is_no_success(tmp_path: Path, line: str, code: int, said: str) -> None:
    assert shell(tmp_path, line) == (code, "", said)


def test_a_closed_standard_input_is_no_file(tmp_path: Path) -> None:
    code, out, err = shell(tmp_path, "clickfold fold --impressions - --clicks c <&-")
    assert (code, out) == (2, "")
    assert err == "clickfold: standard input is closed, and --impressions names it; give it a file or a pipe\n"


@pytest.mark.parametrize(("options", "out"), [([], ""), (["-u"], "line\n")])
def test_a_process_that_ends_at_once_has_written_what_python_writes_at_once(options: list[str], out: str) -> None:
    """A worker that is stuck ends by `os._exit`; its last lines must be in its log."""
    program = (
        "import os, sys\nfrom streams.cli.standard_streams import standard_streams\n"
        "with standard_streams():\n print('line')\n print('logged', file=sys.stderr)\n os._exit(3)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (3, out, "logged\n")
