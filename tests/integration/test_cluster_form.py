"""What the migrations become on a cluster, by ClickHouse's own parser."""

import re

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse import migrations as migrations_module
from schemas.clickhouse.clustered import clustered
from schemas.clickhouse.migrations import migrate, migrations
from schemas.errors import BrokenInvariant, SettingsError

pytestmark = pytest.mark.clickhouse

STATEMENTS = [
    "CREATE DATABASE IF NOT EXISTS ads",
    migrations_module.RECORDED,
    *(statement for migration in migrations() for statement in migration.statements),
]


def canonical(client: Client, statement: str) -> str:
    """The statement as ClickHouse would write it: without comments, in its own spelling and spacing."""
    ((text,),) = client.query("SELECT formatQuery({sql:String})", parameters={"sql": statement}).result_rows
    return str(text)


@pytest.mark.parametrize("at", range(len(STATEMENTS)))
def test_on_a_cluster_each_statement_is_for_all_replicas_each_table_replicated_and_nothing_else_differs(
    database: Client, at: int
) -> None:
    plain = canonical(database, STATEMENTS[at])
    replicated = canonical(database, clustered(STATEMENTS[at], "replicas"))
    assert replicated.count(" ON CLUSTER replicas") == 1
    # In front of anything that is not the name: the first line, which has nothing else.
    assert " ON CLUSTER replicas" in replicated.splitlines()[0]
    engines = re.findall(r"\b(\w*MergeTree)\b", plain)
    assert re.findall(r"\b(\w*MergeTree)\b", replicated) == [f"Replicated{engine}" for engine in engines]
    undone = replicated.replace(" ON CLUSTER replicas", "").replace("ENGINE = Replicated", "ENGINE = ")
    assert undone == plain


def test_without_a_cluster_statements_stay_as_they_are() -> None:
    assert [clustered(statement, "") for statement in STATEMENTS] == STATEMENTS


def test_a_statement_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BrokenInvariant, match="no known form"):
        clustered("OPTIMIZE TABLE minute_totals", "replicas")


@pytest.mark.parametrize("name", ["a b", "x'", "1st", "a;b", "{cluster}"])
def test_a_cluster_name_is_not_sql(database: Client, name: str) -> None:
    with pytest.raises(SettingsError, match="plain name"):
        migrate(database, database=str(database.database), cluster=name)


def test_an_unknown_cluster_is_refused_before_anything_is_made(database: Client) -> None:
    with pytest.raises(SettingsError, match="knows no cluster 'replicas'"):
        migrate(database, database="elsewhere", cluster="replicas")
    assert database.query("SELECT count() FROM system.databases WHERE name = 'elsewhere'").result_rows == [(0,)]
