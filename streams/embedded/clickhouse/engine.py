"""The ClickHouse engine in this process (chDB), one connection per statement.

A chDB connection is a session: its settings, parameters and current database end with it. So no request can change
another, and to open one costs 0.3 ms (measured). Connections of one process run in parallel and release the GIL. chDB
refuses a second *process* on the folder, and a second folder in this process.
"""

import re
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import chdb.state.sqlitelike as chdb

from schemas.clickhouse.quoting import identifier, literal
from schemas.errors import ClickfoldError, SettingsError
from streams.embedded.clickhouse import native
from streams.embedded.clickhouse.permissions import FILES_DATABASE, NotAllowedError, Permissions
from streams.embedded.clickhouse.statement import Statement, reading_from

SYNTAX_ERROR = 62
NOT_ENOUGH_SPACE = 243
UNKNOWN_EXCEPTION = 1002
# chDB has two, and a view holds one while it refreshes: an endless refresh kept all others waiting. A server has 512;
# idle threads cost little.
SCHEDULE_THREADS = 16
# Inserts run before queries: beside four heavy queries on two busy cores the median insert of 1,000 rows took 418 and
# 554 ms, with this 65 and 40. The engine sets it only where the process may lower it again (CAP_SYS_NICE, as root).
READERS_NICE = "10"
_CONFIG, _USERS = (Path(__file__).with_name(name) for name in ("engine.xml", "users.xml"))
ACCESS_DENIED = 497
_CODE = re.compile(r"Code: (\d+)\.")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class EngineError(ClickfoldError):
    """The engine refused or cancelled a statement; ``code`` is ClickHouse's error number, the text its message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes in ``format`` and the counts ClickHouse reports in ``X-ClickHouse-Summary``. ``column_types`` is filled
    for Native alone, and only where its types lack their time zones."""

    body: bytes
    format: str
    summary: Mapping[str, int]
    column_types: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What a request sets for its own statement. ``parameters`` are escaped as in TSV, as in ClickHouse's HTTP."""

    database: str = ""
    settings: Mapping[str, str] | None = None
    parameters: Mapping[str, str] | None = None
    default_format: str = "TabSeparated"
    readonly: bool = False
    # Set as the statement's log_comment, because chDB cannot set its query_id; `Engine.cancel` searches for that.
    query_id: str = ""
    # See `native`.
    protocol_version: int = 0


class Engine:
    """Owner of the data in ``path``. Thread-safe. ``kill -9`` loses nothing that was acknowledged.

    Raises SettingsError when ``path`` cannot be opened: chDB allows one process at a time, even to read.
    """

    def __init__(self, path: Path, *, max_execution_s: float) -> None:
        _describe_default_database(path / "metadata")
        settings = {"background_schedule_pool_size": SCHEDULE_THREADS, "config-file": _CONFIG, "users_config": _USERS}
        self._path = f"{path}?" + "&".join(f"{name}={value}" for name, value in settings.items())
        # Beside the data, where there is enough space; the system's temporary folder may be small, or in memory.
        self._rows_folder = path.parent
        self._max_execution_s = max_execution_s
        # The engine ends with its last connection and takes a second to start again: one stays open.
        try:
            self._anchor = chdb.Connection(self._path)
        except RuntimeError as failure:
            remedy = "Stop the process that has it open, or choose another folder"
            raise SettingsError(f"ClickHouse can't open {path} ({failure}). {remedy}.") from None
        self._permissions = Permissions(self._anchor)
        self.version = self._anchor.query("SELECT version()", "TabSeparated").bytes().decode().strip()
        self.timezone = self._anchor.query("SELECT timezone()", "TabSeparated").bytes().decode().strip()

    def run(self, statement: Statement, session: Session) -> Answer:
        """Execute and wait. An INSERT that returned survives ``kill -9``. Raises EngineError, also for what is not
        permitted."""
        connection = chdb.Connection(self._path)
        try:
            if statement.rows is None:
                return self._query(connection, statement, session)
            return self._insert(connection, statement, statement.rows, session)
        except NotAllowedError as refusal:
            raise EngineError(ACCESS_DENIED, f"Code: 497. DB::Exception: {refusal}. (ACCESS_DENIED)") from None
        except RuntimeError as failure:
            raise _engine_error(str(failure)) from None
        finally:
            connection.close()

    def cancel(self, query_id: str | None = None) -> None:
        """End running statements, or only the queries with that id: they raise EngineError 394. Later ones are not
        affected."""
        which = "1" if query_id is None else f"Settings['log_comment'] = {literal(query_id)}"
        connection = chdb.Connection(self._path)
        try:
            connection.query(f"KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' AND {which} ASYNC")
        finally:
            connection.close()

    def close(self) -> None:
        """Close the data. No statement may be running."""
        self._anchor.close()

    def _kind(self, connection: chdb.Connection, sql: str) -> str:
        """chDB's class of one statement. Raises EngineError or RuntimeError for several, and for what is no SQL."""
        kind = connection._conn.classify_query(sql)
        if kind["statement_count"] > 1:
            # chDB runs "a; b" and joins the answers. A server refuses it, so this does too.
            message = "Syntax error (Multi-statements are not allowed)"
            raise EngineError(SYNTAX_ERROR, f"Code: 62. DB::Exception: {message}. (SYNTAX_ERROR)")
        if kind["statement_count"] == 0:
            # Never executed: chDB would run the statements before the one with the error. This gives the message.
            connection.query(f"SELECT formatQuery({literal(sql)})")
            raise EngineError(SYNTAX_ERROR, "Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)")
        return str(kind["query_class"].name)

    def _prepare(self, connection: chdb.Connection, session: Session, defaults: Mapping[str, str]) -> None:
        settings = {"max_execution_time": str(self._max_execution_s), **defaults, **(session.settings or {})}
        settings |= {f"param_{name}": value for name, value in (session.parameters or {}).items()}
        # Last, because it forbids some settings.
        if session.readonly:
            settings["readonly"] = "2"
        for name, value in settings.items():
            if not _NAME.fullmatch(name):
                raise EngineError(115, f"Code: 115. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
            connection.query(f"SET {name} = {literal(value)}")
        if session.database == FILES_DATABASE:
            raise NotAllowedError(f"{FILES_DATABASE} would show files as tables")
        if session.database:
            connection.query(f"USE {identifier(session.database)}")

    def _query(self, connection: chdb.Connection, statement: Statement, session: Session) -> Answer:
        kind = self._kind(connection, statement.sql)
        defaults = {"os_threads_nice_value_query": READERS_NICE}
        if kind == "READ_ONLY":
            defaults["log_comment"] = session.query_id
        self._prepare(connection, session, defaults)
        self._permissions.check(connection, statement.sql, control=kind == "CONTROL")
        result = connection.query(statement.sql, session.default_format)
        body = result.bytes()
        answer_format = statement.answer_format or session.default_format
        version = session.protocol_version if answer_format == "Native" else 0
        given = (session.parameters or {}).values()
        types = native.column_types(connection, statement, body, version, own_zone=self.timezone, parameters=given)
        return Answer(
            body,
            answer_format,
            {
                "read_rows": result.storage_rows_read(),
                "read_bytes": result.storage_bytes_read(),
                "written_rows": result.rows_written(),
                "written_bytes": result.bytes_written(),
                "result_rows": result.rows_read(),
                "result_bytes": len(body),
                "elapsed_ns": int(result.elapsed() * 1e9),
            },
            types,
        )

    def _insert(self, connection: chdb.Connection, statement: Statement, rows: bytes, session: Session) -> Answer:
        # Through a file, because chDB's send_insert() reports success when the table refuses rows (26.9: a constraint,
        # a failing MATERIALIZED column, too many parts). The file has no name, so that a kill does not leave it behind,
        # and because the engine reads a name as a pattern: in a folder called "a[1]" it would insert no rows.
        with tempfile.TemporaryFile(dir=self._rows_folder) as file:
            try:
                file.write(rows)
                # Where /dev/fd duplicates a descriptor (macOS), the position is shared. seek() flushes, too.
                file.seek(0)
            except OSError as failure:
                text = f"Code: {NOT_ENOUGH_SPACE}. DB::Exception: {failure} (NOT_ENOUGH_SPACE)"
                raise EngineError(NOT_ENOUGH_SPACE, text) from None
            name = f"/dev/fd/{file.fileno()}"
            sql = reading_from(statement, f"FROM INFILE '{name}' COMPRESSION 'none'")
            kind = self._kind(connection, sql)
            self._prepare(connection, session, {})
            self._permissions.check_insert(connection, sql, rows, control=kind == "CONTROL", infile=name)
            result = connection.query(sql, "Null")
        summary = {"written_rows": result.rows_written(), "written_bytes": result.bytes_written()}
        elapsed_ns = int(result.elapsed() * 1e9)
        return Answer(b"", "", {"read_rows": 0, "read_bytes": 0, **summary, "elapsed_ns": elapsed_ns})


def _engine_error(message: str) -> EngineError:
    found = _CODE.search(message)
    if found is None:
        return EngineError(
            UNKNOWN_EXCEPTION, f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: {message} (UNKNOWN_EXCEPTION)"
        )
    return EngineError(int(found.group(1)), message[found.start() :].strip())


def _describe_default_database(metadata: Path) -> None:
    """Makes `default` a database of tables before the engine starts, which would otherwise make it one of files.

    Tables that an earlier version made in it are kept: they are in the folder to which a link of that name leads. The
    engine takes that link for its own default database too and would end, and makes it again; so it goes.
    """
    description, tables = metadata / "default.sql", metadata / "default"
    if not description.exists():
        database_id = tables.readlink().name if tables.is_symlink() else uuid.uuid4()
        metadata.mkdir(parents=True, exist_ok=True)
        unfinished = metadata / "default.sql.tmp"
        unfinished.write_text(f"ATTACH DATABASE _ UUID '{database_id}'\nENGINE = Atomic\n")
        unfinished.replace(description)
    if tables.is_symlink():
        tables.unlink()
