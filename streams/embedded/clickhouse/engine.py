"""The ClickHouse engine in this process (chDB), one connection per statement or per named session.

A chDB connection is a session: its settings, temporary tables and current database end with it. So no request can
change another, and to open one costs 0.3 ms (measured). Connections of one process run in parallel and release the GIL.
chDB refuses a second *process* on the folder, and a second folder in this process.
"""

import re
import uuid
from pathlib import Path

from schemas.errors import SettingsError
from streams.embedded.clickhouse import processes
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Connection
from streams.embedded.clickhouse.exchange import Answer, EngineError, Session
from streams.embedded.clickhouse.execution import READERS_NICE, Execution
from streams.embedded.clickhouse.permissions import NotAllowedError, Permissions
from streams.embedded.clickhouse.request_settings import set_all
from streams.embedded.clickhouse.statement import Statement

# chDB has two, and a view holds one while it refreshes: an endless refresh kept all others waiting. A server has 512;
# idle threads cost little.
SCHEDULE_THREADS = 16
_CONFIG, _USERS = (Path(__file__).with_name(name) for name in ("engine.xml", "users.xml"))
_CODE = re.compile(r"Code: (\d+)\.")
TEXT = "text/plain; charset=UTF-8"


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
        self._defaults = {"max_execution_time": str(max_execution_s)}
        # The engine ends with its last connection and takes a second to start again: one stays open.
        try:
            self._anchor = Connection(self._path)
        except RuntimeError as failure:
            remedy = "Stop the process that has it open, or choose another folder"
            raise SettingsError(f"ClickHouse can't open {path} ({failure}). {remedy}.") from None
        self._anchor.query(processes.VIEW_SQL)
        self._permissions = Permissions(self._anchor)
        self.version = self._anchor.text("SELECT version()").strip()
        self.timezone = self._anchor.text("SELECT timezone()").strip()
        rows = self._anchor.text("SELECT lower(name), content_type FROM system.formats WHERE is_output").splitlines()
        self._content_types = dict(row.split("\t") for row in rows)

    def content_type(self, answer_format: str) -> str:
        """What a server calls an answer in that format, and one that has none."""
        return self._content_types.get(answer_format.lower(), TEXT)

    def open(self) -> Connection:
        """A connection for a session with a name; `run` takes it for the statements of that session."""
        connection = Connection(self._path)
        set_all(connection, {**self._defaults, **READERS_NICE})
        return connection

    def run(self, statement: Statement, session: Session, kept: Connection | None = None) -> Answer:
        """Execute and wait, on a connection of its own or on the `kept` one of a session. An INSERT that returned
        survives ``kill -9``. Raises EngineError, also for what is not permitted."""
        connection = kept or Connection(self._path)
        try:
            execution = Execution(
                connection,
                kept=kept is not None,
                session=session,
                permissions=self._permissions,
                defaults=self._defaults,
                rows_folder=self._rows_folder,
                timezone=self.timezone,
            )
            return execution.run(statement)
        except NotAllowedError as refusal:
            raise EngineError.named(refusal.code, str(refusal)) from None
        except RuntimeError as failure:
            raise _engine_error(str(failure)) from None
        finally:
            if kept is None:
                connection.close()
            elif session.watch is not None:
                connection.watch(None)

    def cancel(self, query_id: str | None = None) -> None:
        """End all running statements, or only what the one with that id reads: they raise EngineError 394. Later ones
        are not affected."""
        connection = Connection(self._path)
        try:
            if query_id is None:
                connection.query("KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' ASYNC")
            else:
                processes.kill_reader(connection, query_id)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the data. No statement may be running."""
        self._anchor.close()


def _engine_error(message: str) -> EngineError:
    found = _CODE.search(message)
    if found is None:
        return EngineError.named(Code.UNKNOWN_EXCEPTION, message)
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
