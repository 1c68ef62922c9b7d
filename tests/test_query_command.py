"""`clickfold query`: what it lists, runs, writes and refuses."""

import contextlib
from collections.abc import Callable

import orjson
import pytest
import typer
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError
from typer.testing import CliRunner

from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import queries
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.query import known, parameters, query_command
from tests.integration.test_queries import insert, total

Run = Callable[..., str]


def command(resolve: Callable[[], contextlib.AbstractContextManager[Client]]) -> Run:
    """The command as a function of its arguments, giving what it printed or raising what it raised."""
    app = typer.Typer()
    app.command()(query_command(resolve))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, ClickfoldError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def nowhere() -> contextlib.AbstractContextManager[Client]:
    """A ClickHouse nobody may ask."""
    raise AssertionError("a client was asked for")


def silent() -> contextlib.AbstractContextManager[Client]:
    """A ClickHouse that does not answer."""
    raise OperationalError("Error ConnectionRefused executing HTTP request attempt 1")


@pytest.fixture
def ask(database: Client) -> Run:
    """The command on a database with two campaigns in two hours."""
    migrate(database, database=str(database.database))
    insert(
        database,
        "totals",
        [
            total(0, version=1, impressions=50, attributed_clicks=2, clicks=2, spend_micros=10**15),
            total(60, version=1, campaign_id="k,2", impressions=5),
        ],
    )
    return command(lambda: contextlib.nullcontext(database))


def test_without_a_name_every_query_is_listed_with_its_parameters() -> None:
    listed = command(nowhere)()
    for each in queries().values():
        assert each.name in listed
        assert all(f"-p {parameter.name}=" in listed for parameter in each.parameters)


@pytest.mark.clickhouse
def test_a_named_query_is_written_in_each_format(ask: Run) -> None:
    table, lines, found = (ask("ctr_by_campaign_hour", "--format", kind) for kind in ("table", "csv", "json"))
    assert table.splitlines()[0].split()[:3] == ["hour", "campaign_id", "impressions"]
    assert "1000000000000000" in table
    assert lines.splitlines() == [
        "hour,campaign_id,impressions,attributed_clicks,ctr,clicks,spend_micros,final",
        '2023-11-14 23:00:00,"k,2",5,0,0,0,0,false',
        "2023-11-14 22:00:00,k1,50,2,0.04,2,1000000000000000,false",
    ]
    assert [(row["campaign_id"], row["spend_micros"]) for row in orjson.loads(found)] == [("k,2", 0), ("k1", 10**15)]


@pytest.mark.clickhouse
def test_options_and_parameters_narrow_a_query(ask: Run) -> None:
    def campaigns(*arguments: str) -> list[str]:
        rows = orjson.loads(ask("ctr_by_campaign_hour", "--format", "json", *arguments))
        return [row["campaign_id"] for row in rows]

    assert campaigns("--campaign", "k1") == campaigns("-p", "campaign=k1") == ["k1"]
    assert campaigns("--from", "2023-11-14T23:00:00Z") == ["k,2"]
    assert campaigns("--to", "2023-11-14 23:00:00") == ["k1"]
    assert campaigns("--from", "2023-11-15") == []
    assert campaigns("-p", "rows=1") == ["k,2"]


@pytest.mark.clickhouse
def test_any_sql_is_run_orders_too(ask: Run) -> None:
    assert (
        ask("--sql", "SELECT 1 AS one, NULL AS none, [1, 2] AS some;", "--format", "csv")
        == 'one,none,some\n1,,"[1,2]"\n'
    )
    assert (
        ask("--sql", "-- why\n(SELECT {x:UInt8} AS x)", "-p", "x=7", "--format", "json")
        == '[\n  {\n    "x": 7\n  }\n]\n'
    )
    assert ask("--sql", "SELECT '100%' AS share", "--format", "csv") == "share\n100%\n"
    assert ask("--sql", "CREATE TABLE made (x UInt8) ENGINE = Memory") == ""
    assert ask("--sql", "SELECT count() AS rows FROM made", "--format", "csv") == "rows\n0\n"


@pytest.mark.clickhouse
def test_an_error_of_clickhouse_is_one_sentence_with_its_number(ask: Run) -> None:
    with pytest.raises(ClickfoldError, match=r"^ClickHouse error 60: .*missing_table") as caught:
        ask("--sql", "SELECT * FROM missing_table")
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="rows='many'"):
        ask("ctr_by_campaign_hour", "-p", "rows=many")


def test_a_clickhouse_that_does_not_answer_is_one_sentence() -> None:
    with pytest.raises(ClickfoldError, match=r"^ClickHouse: .*ConnectionRefused"):
        command(silent)("freshness")


def test_an_unknown_query_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean ctr_by_campaign_hour"):
        known("ctr_by_campaign", {})
    with pytest.raises(SettingsError, match="choose from click_delay, "):
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
