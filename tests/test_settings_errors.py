"""Wrong settings no broker is needed to find: one sentence naming setting, value and remedy, exit code 2."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from streams.cli import main
from streams.kafka.admin import Admin

JOIN = ["worker", "join"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The arguments the entry point will find, in an environment whose Kafka answers to whoever only asks for that."""
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "CLICKHOUSE_URL", "CLICKFOLD_TOPIC_PREFIX"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("CLICKFOLD_STATE_DIR", str(tmp_path / "state"))
    arguments = ["clickfold"]
    with patch("sys.argv", arguments), patch.object(Admin, "partition_counts", return_value={}):
        yield arguments


def sentence(command: list[str], *arguments: str) -> str:
    """What it stops with, on stderr alone."""
    command[1:] = arguments
    err = io.StringIO()
    with patch("sys.stderr", err), pytest.raises(SystemExit) as left:
        main()
    (line,) = err.getvalue().splitlines()
    assert left.value.code == 2
    assert line.startswith("clickfold: ")
    return line.removeprefix("clickfold: ")


@pytest.mark.parametrize(
    ("options", "setting", "remedy"),
    [
        (["--window", "0s"], "window is 0 ms", "give one from 1 ms to 31 days, such as 30m"),
        (
            ["--window", "0"],
            "--window: duration '0' is not a number with a unit",
            "write it as 30m, 5s, 250ms, 2h or 1d",
        ),
        (["--window", "32d"], "window is 2764800000 ms", "give one from 1 ms to 31 days, such as 30m"),
        (["--skew", "-5s"], "--skew: duration '-5s' is not a number with a unit", "write it as 30m"),
        (
            ["--lateness", "2 minutes"],
            "--lateness: duration '2 minutes' is not a number with a unit",
            "write it as 30m",
        ),
        (["--future", ""], "--future: duration '' is not a number with a unit", "write it as 30m"),
        (["--idle", "5"], "--idle: duration '5' is not a number with a unit", "write it as 30m"),
        (
            ["--window", "30s", "--skew", "5s", "--dedupe", "34999ms"],
            "dedupe horizon is 34999 ms, below window + skew = 35000 ms",
            "raise it or leave it out",
        ),
        (["--negative-rate", "2"], "negative rate is 2.0", "give a share from 0 to 1, such as 0.05"),
        (["--negative-rate", "-0.1"], "negative rate is -0.1", "give a share from 0 to 1, such as 0.05"),
        (["--negative-rate", "nan"], "negative rate is nan", "give a share from 0 to 1, such as 0.05"),
        (
            ["--dimensions", "country,colour"],
            "dimensions ['colour'] are not known",
            "choose from advertiser_id, campaign_id",
        ),
        (["--group", "my group"], "--group is 'my group'", "give a name of letters"),
        (["--slot", "../other"], "--slot is '../other'", "give a name of letters"),
    ],
)
def test_a_setting_that_cannot_work_is_named_with_its_value_and_remedy(
    command: list[str], options: list[str], setting: str, remedy: str
) -> None:
    told = sentence(command, *JOIN, *options)
    assert told.startswith(setting)
    assert remedy in told


@pytest.mark.parametrize("name", ["learn", "pace"])
def test_other_workers_name_what_cannot_work_too(command: list[str], name: str) -> None:
    assert sentence(command, "worker", name, "--slot", "a/b").startswith("--slot is 'a/b'; give a name")


def test_grace_that_is_no_duration_is_named(command: list[str]) -> None:
    assert sentence(command, "worker", "learn", "--grace", "soon").startswith("--grace: duration 'soon'")


def test_a_state_folder_that_cannot_be_written_is_named(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "below"
    told = sentence(command, "worker", "pace", "--state-dir", str(folder))
    assert told.startswith(f"state folder {folder}/pace/0 cannot be written (Not a directory)")
    assert told.endswith("give one that can with --state-dir")


@pytest.mark.parametrize("name", ["join", "learn", "pace", "sink"])
def test_without_a_broker_named_a_worker_says_which_variable_to_set(
    command: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    monkeypatch.setenv("CLICKHOUSE_URL", "http://clickhouse:8123")
    assert sentence(command, "worker", name).startswith(
        "KAFKA_BOOTSTRAP_SERVERS is empty; set it, or use `clickfold up`"
    )


def test_a_server_without_a_broker_or_a_free_port_says_so(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = sentence(command, "serve", "--port", str(port))
    assert told == f"--port {port} on 127.0.0.1 cannot be served (Address already in use); give another"
    assert sentence(command, "serve", "--model", "a/b").startswith("--model is 'a/b'; give a name")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    assert sentence(command, "serve").startswith("KAFKA_BOOTSTRAP_SERVERS is empty; set it")


def test_without_clickhouse_named_the_sink_says_which_variable_to_set(command: list[str]) -> None:
    assert sentence(command, "worker", "sink").startswith("CLICKHOUSE_URL is empty; set it")


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "bogus"}, 'Invalid value "bogus" for configuration property "security.protocol"'),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_LOCATION": "/nowhere"}, "ssl.ca.location failed"),
    ],
)
def test_security_settings_librdkafka_does_not_take_are_one_sentence(
    command: list[str], variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = sentence(command, *JOIN)
    assert told in found
    assert found.endswith("correct the KAFKA_… variables")


def test_init_without_a_clickhouse_that_answers_hides_its_password(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", "http://me:secret@127.0.0.1:1")
    with patch.object(Admin, "create", return_value=[]):
        told = sentence(command, "init")
    assert told.startswith("tables were not made at CLICKHOUSE_URL=http://127.0.0.1:1 (")
    assert "secret" not in told
    assert told.endswith("correct it, or give --no-tables")


def test_the_loss_that_the_sink_advises_to_accept_can_be_accepted(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", "http://clickhouse:8123")
    for more, accepted in (["--accept-loss"], True), ([], False):
        command[1:] = ["worker", "sink", *more]
        with patch("streams.worker.lifecycle.run_worker") as run, pytest.raises(SystemExit):
            main()
        assert run.call_args.args[0]._settings.accept_loss is accepted


def test_as_a_process_it_is_one_sentence_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *JOIN, "--window", "0s"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "clickfold: window is 0 ms; give one from 1 ms to 31 days, such as 30m\n"
