"""What the tests say of one mutant, within limits of time and memory."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.mutants.areas import LEFT_OUT, deciding_tests
from tests.mutants.checkout import Checkout
from tests.mutants.plan import Mutant

# Of one test. The slowest takes 5 s on an idle machine, and 10 s more where it compiles `scan`.
_TEST_S: Final = 45
# Of all tests of a mutant: ten times what the longest area takes on an idle machine.
_ALL_S: Final = 600
_PASSED, _FAILED, _INTERRUPTED, _INTERNAL = range(4)
_TIMEOUT: Final = "+ Timeout +"


class Verdict(StrEnum):
    """A mutant that ran out of time is killed too: a worker that hangs is noticed."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"


class Tried(Struct, frozen=True):
    """What became of a mutant, and by which test. `before` and `after` are the changed lines; digests of the rest."""

    mutant: Mutant
    verdict: Verdict
    by: str
    before: str
    after: str
    seconds: float
    source: str
    tests: str


class UnusableTests(Exception):
    """The tests could not be run, or fail without a mutant; the message says which and how."""


def run_tests(
    checkout: Checkout, tests: Sequence[str], kernels: Path, *, keeps_bytecode: bool = False
) -> tuple[Verdict, str]:
    """Whether these tests notice that something is wrong, and which does. Raises UnusableTests when none could run."""
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "tests.mutants.plugin"]
    limits = ["--hypothesis-profile=mutants", f"--timeout={_TEST_S}", "--timeout-method=thread"]
    left_out = [f"--deselect={test}" for test in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", *options, *limits, *left_out, *tests]
    environment = checkout.environment(kernels, keeps_bytecode=keeps_bytecode)
    # A process group of its own: a test may have started others.
    with subprocess.Popen(
        command,
        cwd=checkout.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=_ALL_S)
        except subprocess.TimeoutExpired:
            return Verdict.TIMEOUT, f"all tests in {_ALL_S} s"
        finally:
            _end(process)
    code = process.returncode
    if code == _PASSED:
        return Verdict.SURVIVED, ""
    if _TIMEOUT in output:
        return Verdict.TIMEOUT, f"a test in {_TEST_S} s"
    if code in (_FAILED, _INTERRUPTED, _INTERNAL) or code < 0:
        return Verdict.KILLED, next(filter(_names_test, output.split("\n")), f"pytest ended with {code}")
    raise UnusableTests(f"pytest ended with {code}: {output[-2_000:]}")


def _names_test(line: str) -> bool:
    return line.startswith(("FAILED ", "ERROR "))


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def check_baseline(checkout: Checkout, tests: Sequence[str]) -> None:
    """Raises UnusableTests when a test fails though nothing is mutated: then it would kill every mutant."""
    verdict, by = run_tests(checkout, tests, checkout.kernels, keeps_bytecode=True)
    if verdict is not Verdict.SURVIVED:
        raise UnusableTests(f"without a mutant this fails, of pytest {' '.join(tests)}: {by}")


def try_mutant(checkout: Checkout, mutant: Mutant, text: str) -> Tried:
    """Runs the tests of the mutant's file on it."""
    source = (checkout.root / mutant.path).read_text()
    before, after = changed(source, text)
    tests = deciding_tests(mutant.path)
    began_s = time.monotonic()
    with checkout.mutated(mutant.path, text) as kernels:
        verdict, by = run_tests(checkout, tests, kernels)
    seconds = round(time.monotonic() - began_s, 1)
    return Tried(
        mutant, verdict, by, before, after, seconds, digest(checkout.root, [mutant.path]), digest(checkout.root, tests)
    )


def changed(before: str, after: str) -> tuple[str, str]:
    """The lines in which two texts differ."""
    left, right = before.split("\n"), after.split("\n")
    first = _same(left, right)
    last = min(_same(left[::-1], right[::-1]), len(left) - first, len(right) - first)
    return "\n".join(left[first : len(left) - last]), "\n".join(right[first : len(right) - last])


def _same(left: Sequence[str], right: Sequence[str]) -> int:
    """How many lines are the same at the beginning."""
    return next((at for at, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), len(left))


def digest(root: Path, paths: Sequence[str]) -> str:
    """Of the contents of files below a folder."""
    return hashlib.sha256(b"\0".join((root / path).read_bytes() for path in paths)).hexdigest()[:12]
