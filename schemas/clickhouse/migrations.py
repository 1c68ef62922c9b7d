"""Applies `NNNN_name.sql` in order, once each, and records them in the table `migrations`.

ClickHouse has no transactions for DDL: a crash may leave half a file applied. So every statement is idempotent
(`IF NOT EXISTS`, `OR REPLACE`), and a file is recorded after its last statement.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import msgspec
import xxhash

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A semicolon at the end of a line ends a statement: the HTTP interface takes one statement a request. Comments and
# literals of these files therefore do not end a line with one.
_STATEMENT_END = re.compile(r";[ \t]*(?:\n|$)")
_RECORDED = """
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
    found = []
    for file in resources.files("schemas.clickhouse").iterdir():
        name = _FILE.fullmatch(file.name)
        if name:
            text = file.read_text(encoding="utf-8")
            statements = tuple(part.strip() for part in _STATEMENT_END.split(text) if part.strip())
            digest = xxhash.xxh3_64_hexdigest(text.encode())
            found.append(Migration(number=int(name[1]), name=name[2], statements=statements, digest=digest))
    return sorted(found, key=lambda migration: migration.number)


def migrate(client: Client, *, database: str = "ads") -> list[Migration]:
    """Creates the database if missing, applies what is not recorded yet, and returns that; idempotent.

    `client` is left on `database`. Two callers at once do no harm. Raises SettingsError when a recorded file has
    changed since.
    """
    if not _DATABASE.fullmatch(database):
        raise SettingsError(f"database {database!r} is not a plain name; use letters, digits and _, such as 'ads'")
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}", use_database=False)
    client.database = database
    client.command(_RECORDED)
    recorded = _recorded(client)
    applied = []
    for migration in migrations():
        before = recorded.get(migration.number)
        if before is None:
            for statement in migration.statements:
                client.command(statement)
            row = (migration.number, migration.name, migration.digest)
            client.insert("migrations", [row], column_names=["number", "name", "digest"])
            applied.append(migration)
        elif before != migration.digest:
            raise SettingsError(
                f"migration {migration.number:04}_{migration.name} was changed after it was applied to {database}: a "
                "change belongs in a new file. Restore the file, or use an empty database"
            )
    return applied


def unapplied(client: Client) -> list[Migration]:
    """What `migrate` would still apply to the client's database; all of it when it was never called."""
    if not int(str(client.command("EXISTS TABLE migrations"))):
        return migrations()
    recorded = _recorded(client)
    return [migration for migration in migrations() if migration.number not in recorded]


def _recorded(client: Client) -> dict[int, str]:
    rows = client.query("SELECT number, digest FROM migrations FINAL").result_rows
    return {int(number): str(digest) for number, digest in rows}
