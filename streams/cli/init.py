"""`clickfold init`: topics and tables as they should be; safe to repeat."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.admin import Admin
from streams.environment import Environment


def init(
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of impressions and clicks.")] = 4,
    shards: Annotated[int, typer.Option(min=1, max=1_000, help="Model shards: partitions of outcomes.")] = 1,
    replication: Annotated[int, typer.Option(help="Replication factor; -1: the broker's default.")] = -1,
    tables: Annotated[bool, typer.Option(help="Create ClickHouse tables too, where CLICKHOUSE_URL is given.")] = True,
) -> None:
    """Create what is missing: Kafka topics and ClickHouse tables. Changes nothing that exists."""
    environment = Environment()
    made = Admin(environment.cluster()).create(partitions=partitions, shards=shards, replication=replication)
    typer.echo(f"topics: made {len(made)}" + (f" ({', '.join(made)})" if made else ", all there"))
    if tables and environment.clickhouse_url:
        from schemas.clickhouse.migrations import migrate  # clickhouse-connect takes 0.3 s to import
        from streams.sink.client import connect

        client = connect(
            environment.clickhouse(),
            user=environment.clickhouse_user,
            password=environment.clickhouse_password.get_secret_value(),
        )
        applied = migrate(client, database=environment.clickhouse_database)
        typer.echo(f"tables: applied {len(applied)} migrations")
