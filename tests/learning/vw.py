"""Vowpal Wabbit's settings and rows, and its runs in an environment of its own."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.peers.environments import PROGRAMS, python_of

DEFAULT: Final = "default"
_LOG_RATES: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_FTRL_RATES: Final = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run with one setting: each row's probability, and seconds."""

    predicted: np.ndarray
    seconds: float


def settings(rate: float) -> dict[str, str]:
    """By name 23 command lines: the default, and 22 for which a user would have to search.

    `rate` is the share of clicks in all rows: most settings begin with it, which no user knows before the first row.
    """
    constant = f"--constant {math.log(rate / (1.0 - rate)):.3f}"
    found = {DEFAULT: "-b 20", "coin": "-b 22 --coin", "pairs": "-b 22 -q ::"}
    for rows, quadratic in (("linear", ""), ("pairs", " -q ::")):
        for step in _LOG_RATES:
            found[f"{rows}, rate {step}"] = f"-b 22 -l {step} {constant}{quadratic}"
        for step in _FTRL_RATES:
            ftrl = f"-b 22 --ftrl --ftrl_alpha {step} --ftrl_beta 1 --l2 1"
            found[f"{rows}, FTRL, alpha {step}"] = ftrl + quadratic
    for step in (0.05, 0.2):
        found[f"adaptive only, rate {step}"] = f"-b 22 --adaptive -l {step} {constant}"
    return found


def runs(
    lines: Sequence[str],
    times: Sequence[int],
    commands: Sequence[str],
    *,
    delay_ms: int,
    folder: Path,
    say: Callable[[str], None],
    done: Callable[[int], None],
) -> list[Ran]:
    """A progressive run for each command line, one after another. `done` gets its number when one has ended.

    Without a delay Vowpal Wabbit's own driver reads the file; with one its Python interface takes row after row.
    Raises MissingPeerError if it cannot be installed.
    """
    python = python_of("vowpalwabbit", say)
    job: dict[str, Any] = {"rows": str(folder / "rows"), "times": str(folder / "times"), "folder": str(folder)}
    (folder / "rows").write_text("\n".join(lines) + "\n")
    (folder / "times").write_text("\n".join(map(str, times)) + "\n")
    (folder / "job").write_text(json.dumps({**job, "delay_ms": delay_ms, "settings": list(commands)}))
    seconds = dict[int, float]()
    command = [str(python), str(PROGRAMS / "vw_progressive.py"), str(folder / "job")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            seconds[found["setting"]] = found["seconds"]
            done(found["setting"])
    if process.returncode:
        raise RuntimeError(f"Vowpal Wabbit ended with {process.returncode}")
    return [
        Ran(np.array([float(line.split()[0]) for line in (folder / str(number)).open()]), seconds[number])
        for number in range(len(commands))
    ]
