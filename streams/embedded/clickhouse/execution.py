"""Executes one statement on a connection: what it may do, settings of its request, rows, external tables."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from schemas.clickhouse.quoting import identifier, literal
from streams.embedded.clickhouse import native, processes
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Connection
from streams.embedded.clickhouse.exchange import Answer, EngineError, Session
from streams.embedded.clickhouse.external_tables import ExternalTable
from streams.embedded.clickhouse.permissions import (
    FILES_DATABASE,
    NO_EXPRESSIONS,
    READONLY_TEXT,
    NotAllowedError,
    Permissions,
)
from streams.embedded.clickhouse.request_settings import for_one_request, set_all
from streams.embedded.clickhouse.statement import Statement, reading_from

# Inserts run before queries: beside four heavy queries on two busy cores the median insert of 1,000 rows took 418 and
# 554 ms, with this 65 and 40. The engine sets it only where the process may lower it again (CAP_SYS_NICE, as root).
READERS_NICE: Final = {"os_threads_nice_value_query": "10"}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True)
class Execution:
    """One statement of one request. `kept` says that the connection is that of a named session, and must be left as
    it was but for what the statement itself changes."""

    connection: Connection
    kept: bool
    session: Session
    permissions: Permissions
    defaults: Mapping[str, str]
    rows_folder: Path
    timezone: str

    def run(self, statement: Statement) -> Answer:
        """Raises EngineError, NotAllowedError, and RuntimeError with the message of the engine."""
        return self._query(statement) if statement.rows is None else self._insert(statement, statement.rows)

    def _query(self, statement: Statement) -> Answer:
        kind = self._kind(statement.sql)
        if self.session.readonly:
            temporary = statement.is_temporary
            self.permissions.check_readonly(self.connection, statement.sql, kind=kind, temporary=temporary)
        if self.kept and statement.sets:
            if b"READONLY" in statement.words:
                text = "readonly can't be set for a session; send by GET what must only read"
                raise EngineError.named(Code.NOT_IMPLEMENTED, text)
            with self._as_requested(READERS_NICE):
                pass  # Settings of the request are checked, and undone before the statement sets some of them.
            return self._answer(statement, kind)
        with self._as_requested(READERS_NICE), self._external_tables():
            return self._answer(statement, kind)

    def _answer(self, statement: Statement, kind: str) -> Answer:
        killing = processes.is_kill(statement.words)
        sql = processes.by_query_id(statement.sql) if kind == "READ_ONLY" else statement.sql
        self.permissions.check(self.connection, sql, control=kind == "CONTROL", parameters=self.session.parameters)
        answer_format = statement.answer_format or self.session.default_format
        # Not earlier: KILL would end one of the statements that prepare it, and this one would run.
        self._begin({processes.ID_SETTING: self.session.query_id})
        if killing:
            result = self._kill(sql, answer_format)
        else:
            result = self.connection.query(sql, self.session.default_format, self.session.parameters)
        body = b"" if result is None else result.bytes()
        summary = {} if result is None else _read_counts(result) | {"result_bytes": len(body)}
        # With INTO OUTFILE forbidden, nothing else gives rows.
        has_answer = kind == "READ_ONLY" or killing
        timezone = statement.timezone or self._timezone()
        types = self._column_types(replace(statement, sql=sql), body, answer_format, timezone)
        return Answer(body, answer_format if has_answer else "", summary, timezone, types)

    def _column_types(self, statement: Statement, body: bytes, answer_format: str, timezone: str) -> Sequence[str]:
        version = self.session.protocol_version if answer_format == "Native" else 0
        return native.column_types(
            self.connection, statement, body, version, own_zone=timezone, parameters=self.session.parameters or {}
        )

    def _kill(self, sql: str, answer_format: str) -> Any:
        selection, mode = processes.selection_of(sql)
        self.permissions.check(self.connection, selection, control=False)
        own_id = self.session.query_id
        return processes.kill(self.connection, selection, mode, own_id=own_id, answer_format=answer_format)

    def _insert(self, statement: Statement, rows: bytes) -> Answer:
        if self.session.readonly:
            raise NotAllowedError(READONLY_TEXT, Code.READONLY)
        with self._as_requested({}, also_kept=NO_EXPRESSIONS):
            result = self._insert_rows(statement, rows, begins=True)
            timezone = self._timezone()
        summary = {"written_rows": result.rows_written(), "written_bytes": result.bytes_written()}
        elapsed_ns = int(result.elapsed() * 1e9)
        return Answer(b"", "", {"read_rows": 0, "read_bytes": 0, **summary, "elapsed_ns": elapsed_ns}, timezone)

    def _insert_rows(self, statement: Statement, rows: bytes, *, begins: bool = False) -> Any:
        # Through a file, because chDB's send_insert() reports success when the table refuses rows (26.9: a constraint,
        # a failing MATERIALIZED column, too many parts). The file has no name, so that a kill does not leave it behind,
        # and because the engine reads a name as a pattern: in a folder called "a[1]" it would insert no rows.
        with tempfile.TemporaryFile(dir=self.rows_folder) as file:
            try:
                file.write(rows)
                # Where /dev/fd duplicates a descriptor (macOS), the position is shared. seek() flushes, too.
                file.seek(0)
            except OSError as failure:
                raise EngineError.named(Code.NOT_ENOUGH_SPACE, str(failure)) from None
            name = f"/dev/fd/{file.fileno()}"
            source = f"FROM INFILE '{name}' COMPRESSION 'none'"
            sql = reading_from(statement, source)
            control = self._kind(sql) == "CONTROL"
            parameters = self.session.parameters
            self.permissions.check_insert(
                self.connection, sql, rows, control=control, infile=name, parameters=parameters
            )
            if begins:
                # In the statement: one that sets it before would take a twentieth of a small insert's time.
                sql = reading_from(statement, source, f"{processes.ID_SETTING} = {literal(self.session.query_id)}")
                self._begin({})
            return self.connection.query(sql, "Null", parameters)

    def _kind(self, sql: str) -> str:
        """chDB's class of one statement. Raises EngineError or RuntimeError for several, and for what is no SQL."""
        kind = self.connection.classify(sql)
        if kind["statement_count"] > 1:
            # chDB runs "a; b" and joins the answers. A server refuses it, so this does too.
            raise EngineError.named(Code.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed)")
        if kind["statement_count"] == 0:
            # Never executed: chDB would run the statements before the one with the error. This gives the message.
            self.connection.query(f"SELECT formatQuery({literal(sql)})")
            raise EngineError.named(Code.SYNTAX_ERROR, "Syntax error")
        return str(kind["query_class"].name)

    def _as_requested(
        self, defaults: Mapping[str, str], *, also_kept: Mapping[str, str] | None = None
    ) -> AbstractContextManager[None]:
        """Sets what the request asks for; a kept connection gets its own settings back, also those of `also_kept`."""
        asked = {name: value for name, value in (self.session.settings or {}).items() if name != "readonly"}
        for name in asked:
            if not _NAME.fullmatch(name):
                raise EngineError.named(Code.UNKNOWN_SETTING, f"Unknown setting {name!r}")
        if self.session.database == FILES_DATABASE:
            raise NotAllowedError(f"{FILES_DATABASE} would show files as tables")
        if self.session.role:
            # There is none, because nobody may make one; the engine says so.
            self.connection.query(f"SET ROLE {identifier(self.session.role)}")
        if self.kept:
            if "readonly" in (self.session.settings or {}):
                text = "readonly as a parameter is not served in a session that has settings or tables; use GET"
                raise EngineError.named(Code.NOT_IMPLEMENTED, text)
            return for_one_request(self.connection, asked, self.session.database, also=also_kept or {})
        set_all(self.connection, {**self.defaults, **defaults, **asked})
        if self.session.database:
            self.connection.query(f"USE {identifier(self.session.database)}")
        return nullcontext()

    def _begin(self, settings: Mapping[str, str]) -> None:
        """The last `settings` before the statement runs. From here on its progress is watched."""
        begun = dict(settings)
        asked = (self.session.settings or {}).get("readonly")
        if self.session.readonly and not self.kept:
            # Finds also what the check of the statement did not. It begins to set some settings, so it comes last.
            begun["readonly"] = "2"
        elif asked is not None:
            begun["readonly"] = asked
        set_all(self.connection, begun)
        if self.session.watch is not None:
            self.connection.watch(self.session.watch)

    @contextmanager
    def _external_tables(self) -> Iterator[None]:
        with ExitStack() as tables:
            for table in self.session.external:
                self._make(table)
                if self.kept:
                    tables.callback(self.connection.query, table.drop_sql)
            yield

    def _make(self, table: ExternalTable) -> None:
        control = self._kind(table.create_sql) == "CONTROL"
        self.permissions.check(self.connection, table.create_sql, control=control)
        self.connection.query(table.create_sql)
        self._insert_rows(Statement(table.insert_sql, rows_format=table.format), table.rows)

    def _timezone(self) -> str:
        # Only a kept connection may have another than the engine, but for what the request itself sets.
        asked = (self.session.settings or {}).get("session_timezone")
        return asked or (self.connection.text("SELECT timezone()").strip() if self.kept else self.timezone)


def _read_counts(result: Any) -> dict[str, int]:
    return {
        "read_rows": result.storage_rows_read(),
        "read_bytes": result.storage_bytes_read(),
        "written_rows": result.rows_written(),
        "written_bytes": result.bytes_written(),
        "result_rows": result.rows_read(),
        "elapsed_ns": int(result.elapsed() * 1e9),
    }
