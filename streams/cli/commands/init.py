"""`clickfold init`: topics and tables as they should be; safe to repeat."""

from __future__ import annotations

import logging
from typing import Annotated
from urllib.parse import urlsplit

import typer

from schemas.errors import ClickfoldError, SettingsError
from streams.cli.commands.query import told
from streams.cli.commands.worker import answering
from streams.kafka.admin import Admin
from streams.worker.environment import Environment

# A migration may rewrite a column of every row there is: 5 s for ten million of them.
_MIGRATION_S = 3_600


def init(
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of impressions and clicks.")] = 4,
    shards: Annotated[int, typer.Option(min=1, max=1_000, help="Model shards: partitions of outcomes.")] = 1,
    replication: Annotated[int, typer.Option(help="Replication factor; -1: the broker's default.")] = -1,
    cluster: Annotated[
        str, typer.Option(help="ClickHouse cluster on whose replicas tables are made; CLICKHOUSE_CLUSTER says it too.")
    ] = "",
    tables: Annotated[bool, typer.Option(help="Create ClickHouse tables too, where CLICKHOUSE_URL is given.")] = True,
) -> None:
    """Create what is missing: Kafka topics and ClickHouse tables. Changes nothing that exists."""
    environment = Environment()
    made = Admin(answering(environment)).create(partitions=partitions, shards=shards, replication=replication)
    typer.echo(f"topics: made {len(made)}" + (f" ({', '.join(made)})" if made else ", all there"))
    if tables and environment.clickhouse_url:
        from schemas.clickhouse.dictionaries import make_readable
        from schemas.clickhouse.migrations import migrate
        from streams.warehouse.client import connect, password_of  # clickhouse-connect takes 0.3 s to import

        url, cluster = environment.clickhouse(), cluster or environment.clickhouse_cluster
        password = password_of(url, environment.clickhouse_password.get_secret_value())
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it would tell of what is raised anyway
        try:
            with told():
                client = connect(url, user=environment.clickhouse_user, password=password, answer_s=_MIGRATION_S)
                applied = migrate(client, database=environment.clickhouse_database, cluster=cluster)
                make_readable(client, password=password, cluster=cluster)
        except ClickfoldError as error:
            # Without what the URL may carry as a user's name and password.
            where = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
            raise SettingsError(
                f"tables were not made at CLICKHOUSE_URL={where} ({error}); correct it, or give --no-tables"
            ) from error
        typer.echo(f"tables: applied {len(applied)} migrations")
