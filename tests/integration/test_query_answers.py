"""`clickfold query` on a ClickHouse: answers in each format, charts, any SQL, errors."""

from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pyarrow
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httpclient import HttpClient

from schemas.clickhouse.queries import queries
from schemas.errors import ClickfoldError, SettingsError
from tests.golden import insert, total
from tests.test_query_command import Run, result


def url_of(client: Client) -> str:
    """Where its server is."""
    assert isinstance(client, HttpClient)
    return client.url


def at(hour: int) -> datetime:
    """That hour of the day of the totals."""
    return datetime(2023, 11, 14, hour, tzinfo=UTC)


@pytest.fixture
def ask(ads: Client) -> Run:
    """The command on a database with two campaigns in two hours."""
    insert(
        ads,
        "totals",
        [
            total(0, version=1, impressions=50, attributed_clicks=2, clicks=2, spend_micros=10**15),
            total(60, version=1, campaign_id="k,2", impressions=5),
        ],
    )
    return lambda *arguments: result(arguments, url=url_of(ads), database=str(ads.database)).stdout


@pytest.fixture
def ask_bytes(ask: Run, ads: Client) -> Callable[..., bytes]:
    """The same, giving the bytes it printed."""
    return lambda *arguments: result(arguments, url=url_of(ads), database=str(ads.database)).stdout_bytes


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


@pytest.mark.clickhouse
def test_a_chart_is_drawn_as_the_header_says(ask: Run) -> None:
    lines = ask("ctr_by_campaign_hour", "--format", "chart").splitlines()
    assert lines[1] == "A k,2   B k1"
    assert "ctr, % by hour, UTC, 2023-11-14" in lines
    assert ask("pacing", "--format", "chart").splitlines()[-1] == "no rows"


@pytest.mark.clickhouse
def test_a_line_goes_on_beyond_the_rows_of_a_table(ask: Run, ads: Client) -> None:
    hours = [total(60 * hour, version=1, campaign_id="k1", impressions=1) for hour in range(2, 1_200)]
    insert(ads, "totals", hours)
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
