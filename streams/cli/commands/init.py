"""`clickfold init`: creates the topics and tables that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated
from urllib.parse import urlsplit

import typer

from schemas.dimensions import ExtraDimension
from schemas.errors import ClickfoldError, SettingsError
from streams.cli.commands import options
from streams.cli.connections import clickhouse_errors_as_sentences
from streams.cli.extra_dimensions import read_extra_dimensions
from streams.kafka.admin import Admin
from streams.kafka.topic_settings import check_topic_settings
from streams.worker.environment import Environment

# A migration may rewrite a column of every row, 5 s for ten million rows: an hour is enough for seven billion.
_MIGRATION_TIMEOUT_S = 3_600
_NEXT = (
    "stop the join's workers, run `clickfold upgrade` with their options and this file, and start them with it; a new "
    "group needs no upgrade"
)


def init(
    partitions: Annotated[int, typer.Option(min=1, max=10_000, help="Partitions of impressions and clicks.")] = 4,
    shards: Annotated[int, typer.Option(min=1, max=1_000, help="Model shards: partitions of outcomes.")] = 1,
    replication: Annotated[int, typer.Option(help="Replication factor; -1: the broker's default.")] = -1,
    cluster: Annotated[
        str, typer.Option(help="ClickHouse cluster whose replicas get the tables. [default: CLICKHOUSE_CLUSTER]")
    ] = "",
    tables: Annotated[bool, typer.Option(help="Create ClickHouse tables too, if CLICKHOUSE_URL is set.")] = True,
    extra_dimensions: options.ExtraDimensionsFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the statements that add the extra dimensions; change nothing.")
    ] = False,
) -> None:
    """Create what is missing: Kafka topics and ClickHouse tables.

    With extra dimensions it adds their columns to totals, and shows each statement first. Changes nothing else that is
    there.
    """
    extra = read_extra_dimensions(extra_dimensions)
    environment = Environment()
    if dry_run:
        _show_columns(environment, extra)
        return
    kafka = environment.cluster()
    admin = Admin(kafka)
    for text in check_topic_settings(admin, kafka):
        typer.echo(f"clickfold: {text}", err=True)
    made = admin.create(partitions=partitions, shards=shards, replication=replication)
    typer.echo(f"topics: made {len(made)}" + (f" ({', '.join(made)})" if made else ", all there"))
    if tables and environment.clickhouse_url:
        from schemas.clickhouse.dictionaries import make_readable
        from schemas.clickhouse.extra import add_extra
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
                add_extra(client, extra, cluster=cluster, say=_say_statement, dry=False)
        except ClickfoldError as error:
            # The URL may hold a user's name and password, which must not be shown.
            address = urlsplit(warehouse.url)._replace(netloc=urlsplit(warehouse.url).netloc.rpartition("@")[2])
            raise SettingsError(
                f"tables were not made at CLICKHOUSE_URL={address.geturl()} ({error}); correct it, or give --no-tables"
            ) from error
        typer.echo(f"tables: applied {len(applied)} migrations")
        if extra:
            typer.echo(f"extra dimensions: {', '.join(dimension.name for dimension in extra)}; {_NEXT}")


def _show_columns(environment: Environment, extra: Sequence[ExtraDimension]) -> None:
    """Shows the statements that would add the extra dimensions to a database that was migrated."""
    from schemas.clickhouse.extra import add_extra
    from schemas.clickhouse.migrations import require_applied

    warehouse = environment.warehouse()
    with clickhouse_errors_as_sentences(), closing(warehouse.connect()) as client:
        require_applied(client, database=warehouse.database)
        if not add_extra(client, extra, cluster=warehouse.cluster, say=_say_statement, dry=True):
            typer.echo("extra dimensions: nothing to add")


def _say_statement(statement: str) -> None:
    typer.echo(f"{statement};\n")
