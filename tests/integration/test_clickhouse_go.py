"""clickhouse-go over HTTP, and so Grafana's ClickHouse data source: as recorded, and live where there is Go."""

import base64
import shutil
import subprocess

import pytest
from clickhouse_connect.driver.client import Client

from streams.embedded.clickhouse import ClickHouse
from tests.clients import exchanges

pytestmark = pytest.mark.clickhouse

RUNS = {run.method: run for run in exchanges.recorded()}
go = shutil.which("go")


def comparable(answers: dict[str, str]) -> dict[str, str]:
    """The answers but those that depend on the machine or on which tables there are, errors up to their first words."""
    varying = {f"grafana {number}" for number in range(5, 11)}
    compared = {name: text for name, text in answers.items() if name not in varying}
    return {name: text[:45] if text.startswith("refused") else text for name, text in compared.items()}


@pytest.mark.parametrize("method", RUNS)
def test_what_the_driver_sent_once_is_answered_with_what_it_could_read(
    clickhouse: ClickHouse, golden: Client, method: str
) -> None:
    for sent in RUNS[method].exchanges:
        assert exchanges.answered(clickhouse.port, sent)[0] == sent, base64.b64decode(sent.body)[:200]


def test_record_has_every_compression_and_the_errors_that_drivers_show() -> None:
    assert set(RUNS) == set(exchanges.METHODS)
    for run in RUNS.values():
        assert run.answers["types"].startswith(
            "3 rows |0;0;{false []};0;1;1970-01-01 00:00:00 +0000 UTC;1970-01-01 01:00"
        )
        assert run.answers["read back"] == "1 rows |1000;499500;1000;2023-11-14 22:13:20.999 +0000 UTC;7;124716;"
        assert run.answers["many rows"] == "300000"
        assert run.answers["unknown column"].startswith("refused 47 Unknown expression identifier `nope`.")
        assert not any(text.startswith("FAIL") for text in run.answers.values())


@pytest.mark.skipif(go is None, reason="no Go on this machine")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", RUNS)
def test_driver_reads_today_what_it_read_when_recorded(clickhouse: ClickHouse, golden: Client, method: str) -> None:
    assert go is not None
    try:
        program = exchanges.built(go)
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"Go cannot build the driver: {failure.stderr[-400:]}")
    answers = exchanges.answers(program, f"127.0.0.1:{clickhouse.port}", method)
    assert comparable(answers) == comparable(RUNS[method].answers)
    assert not any(text.startswith("FAIL") for text in answers.values())
