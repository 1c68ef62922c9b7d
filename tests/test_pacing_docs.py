"""The example of the page on the pacing law runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streams.pacing.law import REASONS

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "pacing-law.md"


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, "pacing-law.md", "exec"), {})
    assert any(capsys.readouterr().out.strip().endswith(reason) for reason in REASONS.values())
