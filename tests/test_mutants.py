"""What `make mutate` does apart from trying mutants: which it draws, what it puts back, what it says."""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from rich.console import Console

from tests.mutants import report, trial
from tests.mutants.areas import AREAS, TUNING, deciding_tests, mutated_files
from tests.mutants.checkout import ROOT, Checkout, importers
from tests.mutants.plan import HERE, Mutant, sample, silent, telling
from tests.mutants.trial import Tried, UnusableTests, Verdict, changed, run_tests

MUTANTS = [
    Mutant(f"{name}.py", line, 4, "AddNot", line)
    for name, lines in (("a", 90), ("b", 9), ("c", 1))
    for line in range(lines)
]


def tried(verdict: Verdict, line: int = 3) -> Tried:
    return Tried(Mutant("a.py", line, 4, "AddNot", 0), verdict, "", "    if a:", "    if not a:", 1.0, "", "")


def test_sample_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    first = sample(MUTANTS, 20, 1)
    assert first == sample(MUTANTS, 20, 1) == sample(sorted(MUTANTS, key=repr, reverse=True), 20, 1)
    assert first != sample(MUTANTS, 20, 2)


def test_sample_takes_of_each_file_in_proportion_and_at_least_one() -> None:
    assert Counter(mutant.path for mutant in sample(MUTANTS, 20, 1)) == {"a.py": 18, "b.py": 1, "c.py": 1}
    assert Counter(mutant.path for mutant in sample(MUTANTS, 50, 1)) == {"a.py": 45, "b.py": 4, "c.py": 1}
    assert sample(MUTANTS, 100, 1) == MUTANTS


def test_a_larger_sample_contains_the_smaller_one() -> None:
    assert set(sample(MUTANTS, 20, 1)) < set(sample(MUTANTS, 40, 1))


SOURCE = '''"""A module."""
assert 1 < 2
@cached(3)
def f(a: int | None, *, b: "4" = 5) -> int | None:
    é: int | None = "é" + 6
    if a > 7:
        raise ValueError(f"{8 + 9}", 10) from error(11)
    prefetch(a + 12)
    return log(13)
'''


def test_annotations_decorators_assertions_and_texts_of_errors_are_not_mutated() -> None:
    lines = SOURCE.split("\n")
    every = [
        Mutant("f.py", line, at, "N", 0)
        for line, text in enumerate(lines, 1)
        for at, char in enumerate(text)
        if char.isdigit() or char in "|+<>"
    ]
    kept = {lines[mutant.line - 1][mutant.column] for mutant in telling(every, lambda path: SOURCE)}
    shown = {(mutant.line, mutant.column) for mutant in telling(every, lambda path: SOURCE)}
    assert kept == set("567+>13")
    assert {line for line, _ in shown} == {4, 5, 6, 7, 9}
    assert silent("A = 1\nB: int = 2\n", ["B"]) == [((2, 3), (2, 6)), ((2, 0), (2, 10))]


def test_a_file_is_put_back_with_its_time_after_an_interruption(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    path = "streams/join/judge.py"
    file = checkout.root / path
    before, modified = file.read_text(), file.stat().st_mtime_ns
    seen = []

    def interrupted() -> None:
        with checkout.mutated(path, "1 / 0\n"):
            seen.append(file.read_text())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == ["1 / 0\n"]
    assert (file.read_text(), file.stat().st_mtime_ns) == (before, modified)
    assert (ROOT / path).read_text() == before


def test_kernels_that_a_mutant_may_have_changed_are_compiled_again(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.kernels.mkdir(parents=True)
    for name in ("scan.scan-1.nbi", "names.code_texts-1.nbi", "index.find-1.nbi", "columns.write_names-1.nbi"):
        (checkout.kernels / name).touch()
    with checkout.mutated("streams/kernels/names.py", "") as folder:
        assert sorted(file.name for file in folder.iterdir()) == ["index.find-1.nbi", "scan.scan-1.nbi"]
    with checkout.mutated("streams/join/judge.py", "") as folder:
        assert folder == checkout.kernels
    assert len(list(checkout.kernels.iterdir())) == 4
    assert importers(ROOT / "streams/kernels", "totals") == {"totals"}


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("echo 'FAILED tests/test_a.py::test_b'; exit 1", Verdict.KILLED),
        ("kill -SEGV $$", Verdict.KILLED),
        ("echo '+++++ Timeout +++++'; exit 1", Verdict.TIMEOUT),
        ("sleep 60 & sleep 60", Verdict.TIMEOUT),
        ("exit 0", Verdict.SURVIVED),
    ],
)
def test_how_the_tests_end_decides_about_a_mutant(tmp_path: Path, script: str, verdict: Verdict) -> None:
    checkout = Checkout(tmp_path)
    program = tmp_path / "pytest"
    program.write_text(f"#!/bin/bash\n{script}\n")
    program.chmod(0o700)
    with patch.object(sys, "executable", str(program)), patch.object(trial, "_ALL_S", 0.5):
        assert run_tests(checkout, ["tests/test_a.py"], checkout.kernels)[0] is verdict


def test_tests_that_cannot_be_run_kill_no_mutant(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    with patch.object(sys, "executable", "/bin/false"), patch.object(trial, "_FAILED", 99):
        with pytest.raises(UnusableTests, match="ended with 1"):
            run_tests(checkout, [], checkout.kernels)
        with pytest.raises(UnusableTests, match="without a mutant"), patch.object(trial, "_FAILED", 1):
            trial.check_baseline(checkout, [])


def test_changed_lines_are_those_in_which_two_texts_differ() -> None:
    assert changed("a\nb\nc", "a\nX\nc") == ("b", "X")
    assert changed("a\nb\nb\nc", "a\nb\nc") == ("b", "")
    assert changed("a", "b") == ("a", "b")


def test_a_survivor_is_reported_as_a_changed_line_and_fails_above_one_in_twenty() -> None:
    killed = [tried(Verdict.KILLED)] * 18 + [tried(Verdict.TIMEOUT)]
    console = Console(file=io.StringIO(), width=80)
    assert report.show(console, [*killed, tried(Verdict.SURVIVED)], "")
    assert not report.show(console, [*killed, *[tried(Verdict.SURVIVED)] * 2], "its reason: `if not a:`")
    assert isinstance(console.file, io.StringIO)
    first, second = console.file.getvalue().split("the aim is")[:2]
    assert "a.py:3  AddNot\n-    if a:\n+    if not a:\n  no reason is given" in first
    assert "1 of 20 survived: 5.0%" in first
    assert "its reason is in the documents" in second


def test_a_line_that_was_left_out_is_explained_by_its_own_text() -> None:
    left_out = msgspec.structs.replace(tried(Verdict.SURVIVED), before="    f(1)", after="    pass")
    assert report.explained(left_out, "`f(1)`: why")
    assert not report.explained(left_out, "`pass`")


@pytest.mark.parametrize(
    ("survived", "of", "low", "high"), [(0, 0, 0, 1), (0, 100, 0, 0.037), (5, 100, 0.0215, 0.1118)]
)
def test_interval_is_wilsons(survived: int, of: int, low: float, high: float) -> None:
    assert report.interval(survived, of) == pytest.approx((low, high), abs=0.0001)


def test_results_are_kept_and_hold_while_file_and_tests_are_the_same(tmp_path: Path) -> None:
    from tests.mutants.__main__ import still_holds

    path = "streams/join/judge.py"
    source, tests = trial.digest(ROOT, [path]), trial.digest(ROOT, deciding_tests(path))
    alive = Tried(Mutant(path, 3, 4, "AddNot", 0), Verdict.SURVIVED, "", "a", "b", 1.0, source, tests)
    kept = tmp_path / "mutants.json"
    assert report.read(kept) == []
    report.write(kept, [alive])
    assert report.read(kept) == [alive]
    assert still_holds(alive)


def test_every_file_has_tests_and_every_area_has_files() -> None:
    files = list(mutated_files(ROOT))
    assert "streams/join/totals/names.py" in files
    assert deciding_tests("streams/join/totals/names.py")[0] == "tests/test_counting.py"
    assert all((ROOT / test).exists() for path in files for test in deciding_tests(path))
    assert all(any(path.startswith(area) for path in files) for area in AREAS)
    for path, names in TUNING.items():
        for name in names:
            assert len(silent((ROOT / path).read_text(), [name])) > len(silent((ROOT / path).read_text())), name


def test_every_package_of_the_operators_is_pinned_by_hash() -> None:
    lock = (HERE / "cosmic-ray.txt").read_text()
    packages = [line for line in lock.split("\n") if line and not line.startswith(" ")]
    assert any(line.startswith("cosmic-ray==") for line in packages)
    assert all("==" in line and line.endswith("\\") for line in packages)
