"""What the front hands to the engine for one statement, and what it gets back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.errors import ClickfoldError
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Progress
from streams.embedded.clickhouse.external_tables import ExternalTable


class EngineError(ClickfoldError):
    """A statement was refused or cancelled; ``code`` is ClickHouse's error number, the text its message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def named(cls, code: Code, sentence: str) -> "EngineError":
        """The error in the words of a server; `sentence` is without its full stop."""
        return cls(code, code.message(f"{sentence}."))


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes in ``format``, the counts ClickHouse reports in ``X-ClickHouse-Summary``, and the zone of the times.

    The format is empty for a statement that has no answer. ``column_types`` is filled for Native alone, and only where
    its types lack their time zones.
    """

    body: bytes
    format: str
    summary: Mapping[str, int]
    timezone: str
    column_types: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What a request sets for its own statement. ``parameters`` are escaped as in TSV, as in ClickHouse's HTTP."""

    database: str = ""
    settings: Mapping[str, str] | None = None
    parameters: Mapping[str, str] | None = None
    default_format: str = "TabSeparated"
    readonly: bool = False
    role: str = ""
    # Of the client: `processes` shows it, and `Engine.cancel` searches for it.
    query_id: str = ""
    external: Sequence[ExternalTable] = ()
    # See `native`.
    protocol_version: int = 0
    watch: Callable[[Progress], None] | None = field(default=None, compare=False)
