"""Applies the files `NNNN_name.sql` in order, each once, and records them in the table `migrations`.

ClickHouse has no transactions for DDL: after a crash a file may be half applied. So every statement is idempotent
(`IF NOT EXISTS`, `OR REPLACE`), and a file is recorded after its last statement.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
import xxhash

from schemas.clickhouse.clustered import NAME, clustered
from schemas.clickhouse.extended import extended, extra_columns
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
# A semicolon at the end of a line ends a statement, because the HTTP interface takes one statement a request. So no
# comment or literal in these files may have a semicolon at the end of a line.
_STATEMENT_END = re.compile(r";[ \t]*(?:\n|$)")
RECORDED = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32,
    name String,
    digest String COMMENT 'xxh3-64 of the file, hex',
    applied_at DateTime('UTC') DEFAULT now()
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
"""


class Migration(msgspec.Struct, frozen=True):
    """One file: its number, name, statements without semicolons, and the xxh3-64 of its text."""

    number: int
    name: str
    statements: tuple[str, ...]
    digest: str


def migrations() -> list[Migration]:
    """All migrations, lowest number first."""
    parsed = []
    for file in resources.files("schemas.clickhouse").iterdir():
        name = _FILE.fullmatch(file.name)
        if name:
            text = file.read_text(encoding="utf-8")
            statements = tuple(part.strip() for part in _STATEMENT_END.split(text) if part.strip())
            digest = xxhash.xxh3_64_hexdigest(text.encode())
            parsed.append(Migration(number=int(name[1]), name=name[2], statements=statements, digest=digest))
    return sorted(parsed, key=lambda migration: migration.number)


def migrate(client: Client, *, database: str = "ads", cluster: str = "") -> list[Migration]:
    """Creates the database if it is missing, applies migrations that are not recorded, and returns them. Idempotent.

    With `cluster`, does so on every replica of that cluster, which must have a single shard. Afterwards `client` uses
    `database`. Two callers may run at the same time. Raises SettingsError when a recorded file has changed, and when
    a cluster is named for a database that was made without one, or the other way round.
    """
    if not NAME.fullmatch(database):
        raise SettingsError(f"database {database!r} is not a plain name; use letters, digits and _, such as 'ads'")
    if cluster:
        _check_cluster(client, cluster)
    create_database = clustered(f"CREATE DATABASE IF NOT EXISTS {database}", cluster)
    client.command(create_database, use_database=False, settings=ddl_settings(cluster))
    client.database = database
    _check_replicated(client, cluster)
    client.command(clustered(RECORDED, cluster), settings=ddl_settings(cluster))
    if cluster:
        # Another replica may have recorded migrations that have not reached this one yet.
        client.command("SYSTEM SYNC REPLICA migrations")
    recorded = _recorded(client)
    # A view that a migration makes anew keeps the extra dimensions of this database.
    names = extra_columns(client)
    applied = []
    for migration in migrations():
        applied_digest = recorded.get(migration.number)
        if applied_digest is None:
            for statement in migration.statements:
                client.command(clustered(extended(statement, names), cluster), settings=ddl_settings(cluster))
            row = (migration.number, migration.name, migration.digest)
            client.insert("migrations", [row], column_names=["number", "name", "digest"])
            applied.append(migration)
        elif applied_digest != migration.digest:
            raise SettingsError(
                f"migration {migration.number:04}_{migration.name} has changed since it was applied to {database}: a "
                "change belongs in a new file. Restore the file, or use an empty database"
            )
    return applied


def unapplied(client: Client) -> list[Migration]:
    """The migrations that `migrate` would still apply to the client's database; all if it was never called."""
    if not int(str(client.command("EXISTS TABLE migrations"))):
        return migrations()
    recorded = _recorded(client)
    return [migration for migration in migrations() if migration.number not in recorded]


def require_applied(client: Client, *, database: str) -> None:
    """Raises SettingsError, which names `database`, when the client's database lacks a migration."""
    missing = unapplied(client)
    if missing:
        raise SettingsError(
            f"database {database} lacks {missing[0].number:04}_{missing[0].name} and later: run `clickfold init`, or "
            "let the sink migrate"
        )


def ddl_settings(cluster: str) -> dict[str, str | int]:
    """Settings with which DDL waits for every replica: a view may need the column that the statement before it added.

    After 50 s the server answers with an error that names the absent replica. Its default is three minutes, but the
    client waits for one.
    """
    return {"alter_sync": 2, "distributed_ddl_task_timeout": 50} if cluster else {}


def _check_cluster(client: Client, cluster: str) -> None:
    clustered("ALTER TABLE migrations", cluster)
    sql = "SELECT cluster, max(shard_num) FROM system.clusters GROUP BY cluster ORDER BY cluster"
    shards = {str(name): int(count) for name, count in client.query(sql).result_rows}
    if cluster not in shards:
        clusters = f"has {', '.join(shards)}" if shards else "is empty"
        raise SettingsError(f"ClickHouse knows no cluster {cluster!r}; system.clusters {clusters}")
    if shards[cluster] > 1:
        raise SettingsError(
            f"cluster {cluster} has {shards[cluster]} shards, and a reader would see the rows of one only: name a "
            "cluster of one shard and its replicas"
        )


def _check_replicated(client: Client, cluster: str) -> None:
    sql = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'migrations'"
    for (engine,) in client.query(sql).result_rows:
        # The engines of ClickHouse Cloud (Shared…) replicate in any case.
        if cluster and engine == "ReplacingMergeTree":
            raise SettingsError(
                f"the tables of {client.database} were made without replicas, so they cannot be on cluster {cluster}: "
                "name another database, or no cluster"
            )
        if not cluster and engine == "ReplicatedReplacingMergeTree":
            raise SettingsError(
                f"the tables of {client.database} are replicated, but no cluster is named, so a change would reach one "
                "replica only: set CLICKHOUSE_CLUSTER (or --cluster) to the cluster they were made with"
            )


def _recorded(client: Client) -> dict[int, str]:
    rows = client.query("SELECT number, digest FROM migrations FINAL").result_rows
    return {int(number): str(digest) for number, digest in rows}
