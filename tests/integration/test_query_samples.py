"""Every named query's sample is what it answers today, on the small world of `tests.golden`."""

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.queries import queries
from tests.golden import ASKED, SAMPLES, sample

pytestmark = pytest.mark.clickhouse


@pytest.mark.parametrize("name", queries())
def test_the_sample_is_the_answer_to_the_golden_world(golden: Client, name: str) -> None:
    file = SAMPLES / f"{name}.txt"
    assert file.is_file(), f"no sample of {name}: python -m tests.golden --write"
    assert sample(golden, name) == file.read_text(encoding="utf-8")


def test_there_is_no_sample_without_its_query() -> None:
    assert {file.stem for file in SAMPLES.iterdir()} == set(queries())
    assert ASKED.keys() <= queries().keys()
