"""Settings, parameters and database of one request, which a connection that is kept must not remember."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from schemas.clickhouse.quoting import identifier, literal
from streams.embedded.clickhouse.connection import Connection

# As in chDB's column `changed`.
_CHANGED = "1"


def set_all(connection: Connection, settings: Mapping[str, str]) -> None:
    """Change settings of the connection. Raises RuntimeError with the engine's message."""
    if settings:
        connection.query("SET " + ", ".join(f"{name} = {literal(value)}" for name, value in settings.items()))


@contextmanager
def for_one_request(
    connection: Connection, settings: Mapping[str, str], database: str, *, also: Iterable[str] = ()
) -> Iterator[None]:
    """`settings` and `database` during the block; afterwards those from before, and of settings that `also` names."""
    settings_before = _values(connection, [*settings, *also])
    database_before = connection.text("SELECT currentDatabase()").removesuffix("\n") if database else ""
    try:
        set_all(connection, settings)
        if database:
            connection.query(f"USE {identifier(database)}")
        yield
    finally:
        for name, value in settings_before.items():
            connection.query(f"SET {name} = " + ("DEFAULT" if value is None else literal(value)))
        if database:
            connection.query(f"USE {identifier(database_before)}")


def _values(connection: Connection, names: list[str]) -> Mapping[str, str | None]:
    """The value of each setting, None where it is the default. Names that the engine does not know are left out."""
    if not names:
        return {}
    listed = ", ".join(map(literal, names))
    sql = f"SELECT hex(name), changed, hex(value) FROM system.settings WHERE name IN ({listed})"
    rows = (line.split("\t") for line in connection.text(sql).splitlines())
    return {_text(name): _text(value) if changed == _CHANGED else None for name, changed, value in rows}


def _text(hexadecimal: str) -> str:
    return bytes.fromhex(hexadecimal).decode("utf-8", errors="surrogateescape")
