"""Embedded workers use the embedded servers, whatever cluster the user's environment names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from streams.cli.commands import worker
from streams.embedded.stack import _more_sources
from streams.embedded.worker_environment import worker_environment
from streams.worker.environment import Environment

STATE_DIR = Path("/data/state")


def clickhouse() -> Any:
    """The embedded ClickHouse as its stack names it."""
    from streams.warehouse.client import Warehouse  # its client takes half a second to import

    return Warehouse("http://here:8123", user="default", password="kept")


def variables() -> Iterator[str]:
    """Every variable of the environment that a worker reads: for the servers, and for its options."""
    yield from (name.upper() for name in Environment.model_fields)
    commands: Any = typer.main.get_command(worker.app)
    for command in commands.commands.values():
        for option in command.params:
            if isinstance(option.envvar, str):
                yield option.envvar


@pytest.mark.parametrize("name", sorted(set(variables())))
@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_a_variable_of_the_user_does_not_reach_embedded_workers(
    name: str, spelled: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(spelled(name), "elsewhere")
    changes = worker_environment(bootstrap="here:9092", clickhouse=clickhouse(), state_dir=STATE_DIR)
    assert "elsewhere" not in {**os.environ, **changes}.values()


def test_the_users_schema_registry_reaches_a_worker_that_reads_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://registry:8081")
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "elsewhere")
    changes = worker_environment(bootstrap="here:9092", clickhouse=clickhouse(), state_dir=STATE_DIR, registry=True)
    assert "SCHEMA_REGISTRY_URL" not in changes
    assert changes["KAFKA_SASL_USERNAME"] == ""


def test_embedded_workers_are_given_the_embedded_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_SSL_KEY_PASSWORD", "CLICKHOUSE_CLUSTER", "clickhouse_url"):
        monkeypatch.setenv(name, "elsewhere")
    changes = worker_environment(bootstrap="here:9092", clickhouse=clickhouse(), state_dir=STATE_DIR)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    environment = Environment()
    assert (environment.cluster().bootstrap, environment.cluster().security) == ("here:9092", {})
    assert (environment.clickhouse_url, environment.clickhouse_cluster) == ("http://here:8123", "")
    password = environment.clickhouse_password.get_secret_value()
    assert (environment.clickhouse_user, password) == ("default", "kept")
    assert changes["CLICKFOLD_STATE_DIR"] == str(STATE_DIR)


@pytest.mark.parametrize(
    ("given", "goes_on"),
    [
        ("--source shop=/a/old.toml", True),
        # Another file may hold the same mapping; ingest looks at what it says.
        ("--source shop=/a/new.toml", True),
        ("--source shop=/a/old.toml --source app=openrtb", True),
        ("--source app=openrtb", False),
        ("", False),
    ],
)
def test_sources_may_be_added_and_none_left_out(given: str, goes_on: bool) -> None:
    assert _more_sources("--source shop=/a/old.toml", given) is goes_on
