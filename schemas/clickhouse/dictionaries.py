"""Dictionaries that read tables of their own server, as a user that the server accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.clickhouse.clustered import clustered
from schemas.clickhouse.migrations import migrations
from schemas.clickhouse.quoting import literal
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CAMPAIGN_FACTS: Final = "campaign_facts"
_HEAD: Final = f"CREATE OR REPLACE DICTIONARY {CAMPAIGN_FACTS}\n"
_SOURCE: Final = "SOURCE(CLICKHOUSE("
# ClickHouse's UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED.
_REFUSED: Final = frozenset({192, 193, 194, 497, 516})


def make_readable(client: Client, *, password: str, cluster: str = "") -> None:
    """Loads the dictionary. If ClickHouse refuses its user, creates it again to read as the client's user.

    `password` is the password of that user. So the dictionary also follows a changed password. `client` is on the
    database, after `migrate`. ClickHouse keeps the password in the dictionary's definition and never shows it. Raises
    SettingsError when it refuses this user as well.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError  # takes 0.2 s to import, so only when called

    load = f"SYSTEM RELOAD DICTIONARY {client.database}.{CAMPAIGN_FACTS}"
    try:
        client.command(load)
    except DatabaseError as failure:
        if failure.code not in _REFUSED:
            raise
        statements = [statement for migration in migrations() for statement in migration.statements]
        definition = [statement for statement in statements if _HEAD in statement][-1]
        user = str(client.command("SELECT currentUser()"))
        try:
            client.command(clustered(reading_as(definition, user, password), cluster))
            client.command(load)
        except DatabaseError as again:
            reason = str(again).replace(password, "…") if password else str(again)
            raise SettingsError(
                f"dictionary {CAMPAIGN_FACTS} can't read as user {user}: {reason[:300]}; grant the user SELECT and "
                "SYSTEM RELOAD DICTIONARY, and give the password that ClickHouse has for it"
            ) from None


def reading_as(statement: str, user: str, password: str) -> str:
    """The same dictionary, with a source that names a user and password."""
    return statement.replace(_SOURCE, f"{_SOURCE}USER {literal(user)} PASSWORD {literal(password)} ", 1)
