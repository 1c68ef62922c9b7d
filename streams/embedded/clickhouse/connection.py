"""One connection to the engine in this process (chDB): a session, with settings and temporary tables of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import chdb.state.sqlitelike as chdb

from streams.embedded.clickhouse.sql import sql_bytes

# Rows and bytes so far, as chDB names them: read_rows, total_rows_to_read, elapsed_ns and others.
Progress = Mapping[str, int]


class Connection:
    """A connection that runs one statement at a time; different threads may use it one after another."""

    def __init__(self, path: str) -> None:
        # chDB's own wrapper takes SQL as text and so only UTF-8.
        self._owner = chdb.Connection(path)
        self._engine = self._owner._conn

    def query(self, sql: str, answer_format: str = "TSVRaw", parameters: Mapping[str, str] | None = None) -> Any:
        """chDB's result. `parameters` are escaped as in TSV. Raises RuntimeError with the engine's message."""
        try:
            return self._engine.query(sql_bytes(sql), answer_format, params=dict(parameters or {}))
        except UnicodeDecodeError as failure:
            # The engine's message quotes the statement.
            raise RuntimeError(failure.object.decode("utf-8", errors="replace")) from None

    def text(self, sql: str) -> str:
        """The answer as text. Raises RuntimeError with the engine's message."""
        return str(self.query(sql).bytes().decode("utf-8", errors="surrogateescape"))

    def classify(self, sql: str) -> Mapping[str, Any]:
        """What chDB says the SQL would do, without running it: ``query_class``, ``statement_count`` and others."""
        found: Mapping[str, Any] = self._engine.classify_query(sql_bytes(sql))
        return found

    def watch(self, callback: Callable[[Progress], None] | None) -> None:
        """Call `callback` from a thread of the engine about every 100 ms while a statement runs; None ends that."""
        self._engine.set_progress_callback(callback)

    def close(self) -> None:
        """End the session. Idempotent."""
        self._owner.close()
