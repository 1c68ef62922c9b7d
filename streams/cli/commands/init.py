"""`clickfold init`: creates the topics and tables that are missing."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated
from urllib.parse import urlsplit

import typer

from schemas.errors import ClickfoldError, SettingsError
from streams.cli.connections import clickhouse_errors_as_sentences
from streams.kafka.admin import Admin
from streams.kafka.topic_settings import check_topic_settings
from streams.worker.environment import Environment

# A migration may rewrite a column of every row, 5 s for ten million rows: an hour is enough for seven billion.
_MIGRATION_TIMEOUT_S = 3_600


def init(
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of impressions and clicks.")] = 4,
    shards: Annotated[int, typer.Option(min=1, max=1_000, help="Model shards: partitions of outcomes.")] = 1,
    replication: Annotated[int, typer.Option(help="Replication factor; -1: the broker's default.")] = -1,
    cluster: Annotated[
        str, typer.Option(help="ClickHouse cluster whose replicas get the tables. [default: CLICKHOUSE_CLUSTER]")
    ] = "",
    tables: Annotated[bool, typer.Option(help="Create ClickHouse tables too, if CLICKHOUSE_URL is set.")] = True,
) -> None:
    """Create what is missing: Kafka topics and ClickHouse tables. Changes nothing that exists."""
    environment = Environment()
    kafka = environment.cluster()
    admin = Admin(kafka)
    for text in check_topic_settings(admin, kafka):
        typer.echo(f"clickfold: {text}", err=True)
    made = admin.create(partitions=partitions, shards=shards, replication=replication)
    typer.echo(f"topics: made {len(made)}" + (f" ({', '.join(made)})" if made else ", all there"))
    if tables and environment.clickhouse_url:
        from schemas.clickhouse.dictionaries import make_readable
        from schemas.clickhouse.migrations import migrate
        from streams.warehouse.client import password_of

        warehouse = environment.warehouse()
        cluster = cluster or warehouse.cluster
        try:
            with (
                clickhouse_errors_as_sentences(),
                closing(warehouse.connect_to_server(answer_s=_MIGRATION_TIMEOUT_S)) as client,
            ):
                applied = migrate(client, database=warehouse.database, cluster=cluster)
                make_readable(client, password=password_of(warehouse.url, warehouse.password), cluster=cluster)
        except ClickfoldError as error:
            # The URL may hold a user's name and password, which must not be shown.
            address = urlsplit(warehouse.url)._replace(netloc=urlsplit(warehouse.url).netloc.rpartition("@")[2])
            raise SettingsError(
                f"tables were not made at CLICKHOUSE_URL={address.geturl()} ({error}); correct it, or give --no-tables"
            ) from error
        typer.echo(f"tables: applied {len(applied)} migrations")
