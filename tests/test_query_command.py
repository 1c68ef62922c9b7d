"""`clickfold query`: what it lists, runs, writes and refuses."""

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import orjson
import pyarrow
import pytest
import typer
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import OperationalError
from typer.testing import CliRunner, Result

from schemas.clickhouse.migrations import migrate
from schemas.clickhouse.queries import queries
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.commands.query import Resolve, known, parameters, query_command
from tests.golden import insert, total

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


def at(hour: int) -> datetime:
    """That hour of the day of the totals."""
    return datetime(2023, 11, 14, hour, tzinfo=UTC)


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


@pytest.fixture
def ask_bytes(ask: Run, database: Client) -> Callable[..., bytes]:
    """The same, giving the bytes it printed."""
    return lambda *arguments: result(lambda: contextlib.nullcontext(database), arguments).stdout_bytes


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
    assert campaigns("-p", "rows=1") == campaigns("--rows", "1") == ["k,2"]


@pytest.mark.clickhouse
def test_arrow_is_the_answer_with_its_types(ask_bytes: Callable[..., bytes]) -> None:
    table = pyarrow.ipc.open_stream(ask_bytes("ctr_by_campaign_hour", "--format", "arrow")).read_all()
    assert table.select(["hour", "campaign_id", "ctr", "spend_micros", "final"]).to_pylist() == [
        {"hour": at(23), "campaign_id": "k,2", "ctr": 0.0, "spend_micros": 0, "final": False},
        {"hour": at(22), "campaign_id": "k1", "ctr": 0.04, "spend_micros": 10**15, "final": False},
    ]
    assert str(table.schema.field("campaign_id").type) == "string"
    sql = "SELECT 'a' AS name, toDateTime('2023-11-14 22:00:00', 'UTC') AS `odd ``name`, [1, 2] AS some;"
    table = pyarrow.ipc.open_stream(ask_bytes("--sql", sql, "--format", "arrow")).read_all()
    assert table.to_pylist() == [{"name": "a", "odd `name": at(22), "some": [1, 2]}]


@pytest.mark.clickhouse
def test_arrow_keeps_the_columns_of_an_answer_without_rows(ask_bytes: Callable[..., bytes]) -> None:
    table = pyarrow.ipc.open_stream(ask_bytes("pacing", "--format", "arrow")).read_all()
    assert (table.num_rows, table.column_names[:2]) == (0, ["campaign_id", "state"])


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


@pytest.mark.clickhouse
def test_a_chart_is_drawn_as_the_header_says(ask: Run) -> None:
    lines = ask("ctr_by_campaign_hour", "--format", "chart").splitlines()
    assert lines[1] == "A k,2   B k1"
    assert "ctr, % by hour, UTC, 2023-11-14" in lines
    assert ask("pacing", "--format", "chart").splitlines()[-1] == "no rows"


@pytest.mark.clickhouse
def test_a_line_goes_on_beyond_the_rows_of_a_table(ask: Run, database: Client) -> None:
    hours = [total(60 * hour, version=1, campaign_id="k1", impressions=1) for hour in range(2, 1_200)]
    insert(database, "totals", hours)
    assert len(ask("ctr_by_campaign_hour", "--format", "csv").splitlines()) == 1_001
    assert "2023-11-14 to 2024-01-03" in ask("ctr_by_campaign_hour", "--format", "chart")
    assert "2024-01-03 to 2024-01-03" not in ask("ctr_by_campaign_hour", "--format", "chart", "--rows", "5")


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", queries())
def test_every_column_a_chart_or_an_explanation_names_is_one_of_the_answer(name: str, ask: Run) -> None:
    columns = ask(name, "--format", "csv").splitlines()[0].split(",")
    chart = queries()[name].chart
    assert chart is None or set(chart.columns) <= set(columns)


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
