"""`clickfold query`: what it lists and refuses."""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner, Result

from schemas.clickhouse.queries import queries
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.commands.query import Resolve, known, parameters, query_command

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Run = Callable[..., str]


def query_app(resolve: Resolve) -> typer.Typer:
    """The command alone."""
    app = typer.Typer()
    app.command()(query_command(resolve))
    return app


def result(resolve: Resolve, arguments: Sequence[str]) -> Result:
    """What the command did, or raises what it raised."""
    found = CliRunner().invoke(query_app(resolve), arguments)
    if isinstance(found.exception, ClickfoldError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found


def command(resolve: Resolve) -> Run:
    """The command as a function of its arguments, giving what it printed or raising what it raised."""
    return lambda *arguments: result(resolve, arguments).stdout


def nowhere() -> contextlib.AbstractContextManager["Client"]:
    """A ClickHouse nobody may ask."""
    raise AssertionError("a client was asked for")


def silent() -> contextlib.AbstractContextManager["Client"]:
    """A ClickHouse that does not answer."""
    from clickhouse_connect.driver.exceptions import OperationalError

    raise OperationalError("Error ConnectionRefused executing HTTP request attempt 1")


def test_without_a_name_every_query_is_one_line() -> None:
    listed = command(nowhere)().splitlines()[: len(queries())]
    assert [line.split(maxsplit=1) for line in map(str.rstrip, listed)] == [
        [each.name, each.text] for each in queries().values()
    ]
    # Aligned: what each answers begins in one column.
    assert len({line.index(each.text) for line, each in zip(listed, queries().values(), strict=True)}) == 1


def test_the_verbose_list_has_every_parameter() -> None:
    listed = command(nowhere)("--verbose")
    for each in queries().values():
        assert each.name in listed
        assert all(parameter.text in listed for parameter in each.parameters)


@pytest.mark.parametrize("name", queries())
def test_a_query_is_explained_without_a_clickhouse(name: str) -> None:
    query = queries()[name]
    explained = " ".join(command(nowhere)(name, "--explain").split())
    assert f"{name}: {query.text}" in explained
    assert all(" ".join(note.split()) in explained for note in query.notes)
    assert all(parameter.text in explained for parameter in query.parameters)
    assert query.chart is None or query.chart.text in explained


def test_an_explanation_names_a_query_and_its_own_parameters() -> None:
    with pytest.raises(SettingsError, match="name one"):
        command(nowhere)("--explain")
    with pytest.raises(SettingsError, match="takes no 'hour'"):
        command(nowhere)("pacing", "--explain", "-p", "hour=3")


def test_arrow_is_not_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for arguments in (["ledger"], ["--sql", "SELECT 1"]):
        with pytest.raises(SettingsError, match="no terminal can show"):
            query_app(nowhere)([*arguments, "--format", "arrow"], standalone_mode=False)


def test_formats_a_question_has_no_answer_in_are_refused_before_asking() -> None:
    ask = command(nowhere)
    with pytest.raises(SettingsError, match="freshness has no chart; --format takes table, csv, json, arrow"):
        ask("freshness", "--format", "chart")
    with pytest.raises(SettingsError, match="draws named queries"):
        ask("--sql", "SELECT 1", "--format", "chart")
    with pytest.raises(SettingsError, match="this statement gives none"):
        ask("--sql", "DROP TABLE x", "--format", "arrow")


def test_a_clickhouse_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(ClickfoldError, match=r"^ClickHouse: .*ConnectionRefused"):
        command(silent)("freshness")


def test_an_unknown_query_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean ctr_by_campaign_hour"):
        known("ctr_by_campaign", {})
    with pytest.raises(SettingsError, match=r"choose from .*click_delay, "):
        known("zzz", {})


def test_a_parameter_the_query_does_not_take_is_refused_before_asking() -> None:
    ask = command(nowhere)
    with pytest.raises(SettingsError, match=r"takes no --from \(since\); it takes campaign, rows"):
        ask("pacing", "--from", "2023-11-14")
    with pytest.raises(SettingsError, match="give one of them"):
        ask("pacing", "--sql", "SELECT 1")
    with pytest.raises(SettingsError, match="parameters without a query"):
        ask("--campaign", "k1")


def test_a_parameter_is_a_name_and_a_value() -> None:
    assert parameters(["campaign=a=b"], {"since": "2019-11-24", "until": None}) == {
        "campaign": "a=b",
        "since": "2019-11-24 00:00:00",
    }
    with pytest.raises(SettingsError, match="not NAME=VALUE"):
        parameters(["campaign"], {})
