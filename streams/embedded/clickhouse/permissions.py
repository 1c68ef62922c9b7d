"""Which statements may run: none that reads or writes a file, runs a program or connects to another host.

`users.xml` grants the engine's user no source outside of the engine. That leaves what ClickHouse checks no grant for,
or checks too late: INTO OUTFILE, FROM INFILE, `file()` as a function, some table engines, sources of dictionaries.
Here the engine's own parser decides: `classify_query`, and the nodes that EXPLAIN AST prints. Names that contain a
line end can add lines to that tree and cannot remove any, so each rule looks for lines that must not be there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from schemas.clickhouse.quoting import literal
from schemas.errors import ClickfoldError
from streams.embedded.clickhouse.codes import Code
from streams.embedded.clickhouse.connection import Connection
from streams.embedded.clickhouse.request_settings import set_all
from streams.embedded.clickhouse.sql import sql_text

# The default database of the engine, as `engine.xml` names it.
FILES_DATABASE: Final = "no_files"
TABLE_FUNCTIONS: Final = frozenset(
    {
        *("dictionary", "format", "fuzzjson", "generaterandom", "generateseries", "generate_series", "input", "loop"),
        *("merge", "mergetreeanalyzeindexes", "mergetreeindex", "mergetreeprojection", "mergetreetextindex", "null"),
        *("numbers", "numbers_mt", "primes", "sqlstandardvalues", "values", "view", "viewexplain", "viewifpermitted"),
        *("zeros", "zeros_mt"),
    }
)
TABLE_ENGINES: Final = frozenset(
    {
        *("aggregatingmergetree", "buffer", "coalescingmergetree", "collapsingmergetree", "dictionary"),
        *("generaterandom", "join", "log", "materializedview", "memory", "merge", "mergetree", "null"),
        *("replacingmergetree", "set", "stripelog", "summingmergetree", "tinylog", "versionedcollapsingmergetree"),
        "view",
    }
)
DATABASE_ENGINES: Final = frozenset({"atomic", "memory"})
# Statements that chDB classifies as neither reading nor changing its data. All others of that class are refused.
_CONTROL: Final = frozenset(
    {"AlterQuery", "CreateQuery", "DetachQuery", "DropQuery", "InsertQuery", "KillQueryQuery", "Set", "UseQuery"}
)
# 64 KiB are parsed within 0.3 s. Longer rows of VALUES are not parsed beforehand and may not be expressions.
MAX_EXPRESSIONS_BYTES: Final = 64 << 10
# With these the engine evaluates no expressions in VALUES.
NO_EXPRESSIONS: Final = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}
READONLY_TEXT: Final = (
    "default: Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
    "You should use method POST for modifying queries"
)
_NODE = re.compile(r"( *)(\w+)(?: +(\S+))?")
# A format string has braces, the name of an input format has none: `format(Values, …)` would evaluate a text.
_FORMAT_STRING = re.compile(
    r" *Function format(?: \(alias \w+\))? \(children 1\)\n *ExpressionList \(children \d+\)\n *Literal '[^\n]*\{"
)
# A dictionary's source with one or three arguments that are strings; which, only the written statement shows.
_SOURCE = re.compile(
    r" *FunctionWithKeyValueArguments +clickhouse \(children 1\)\n *ExpressionList \(children [13]\)\n"
    r"(?: *pair \(children 1\)\n *Literal '[^\n]*'\n?)+",
)
# What leads to another host or has SQL in a text. USER, PASSWORD, DB and TABLE remain.
_FORBIDDEN_KEYS: Final = ("host", "query", "where", "name", "update_field")


# What does not outlive its session, so that a statement that only reads may do it too.
_SESSION_STATE: Final = frozenset({"Set", "UseQuery"})


class NotAllowedError(ClickfoldError):
    """The statement may not run; the text says why, and `code` is ClickHouse's number for it."""

    def __init__(self, text: str, code: Code = Code.ACCESS_DENIED) -> None:
        super().__init__(text)
        self.code = code


class Permissions:
    """The rules for one engine. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        functions = _names(connection, "table_functions") - TABLE_FUNCTIONS
        engines = _names(connection, "table_engines") - TABLE_ENGINES
        databases = _names(connection, "database_engines") - DATABASE_ENGINES - TABLE_ENGINES
        self._forbidden = functions | engines | databases | {"file"}

    def check(
        self,
        connection: Connection,
        sql: str,
        *,
        control: bool,
        infile: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Raises NotAllowedError when `sql` must not run, RuntimeError with the engine's message when it is no SQL.

        `sql` is one statement, and `control` says that chDB classifies it as CONTROL. `infile` is the one file from
        which an INSERT may read its rows.
        """
        tree = self._tree(connection, sql, parameters)
        root, *others = nodes = list(_nodes(tree))
        children = [f"{name} {word}" for depth, name, word in others if depth == 1]
        files = [child for child in children if child.startswith("Literal ")]
        if root[1] == "InsertQuery" and files != ([] if infile is None else [f"Literal '{infile}'", "Literal 'none'"]):
            raise NotAllowedError("FROM INFILE reads a file; send the rows in the request")
        if root[1] == "AttachQuery":
            raise NotAllowedError("ATTACH takes over a folder; use CREATE")
        if control:
            _check_control(root, children)
        for _, name, word in nodes:
            self._check_node(name, word)
        self._check_format(tree)
        self._check_sources(connection, sql, tree)
        self._check_hidden(connection, sql, nodes)

    def check_readonly(self, connection: Connection, sql: str, *, kind: str, temporary: bool) -> None:
        """Raises NotAllowedError when a statement that chDB classifies as `kind` changes more than a session.

        `temporary` says that it makes a temporary table.
        """
        if kind == "READ_ONLY" or temporary:
            return
        if kind == "CONTROL":
            root = next(_nodes(self._tree(connection, sql)))
            # INTO OUTFILE makes a SELECT one of this class; `check` refuses it by its own number.
            if root[1] in _SESSION_STATE or root[1] == "SelectWithUnionQuery":
                return
        raise NotAllowedError(READONLY_TEXT, Code.READONLY)

    def check_insert(
        self,
        connection: Connection,
        sql: str,
        rows: bytes,
        *,
        control: bool,
        infile: str,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """`check` for an INSERT that reads `rows` from `infile`. Rows of VALUES may be expressions: these are checked
        too, or `connection` evaluates none."""
        self.check(connection, sql, control=control, infile=infile, parameters=parameters)
        # The format that the engine reads, which comments cannot hide.
        if not self._written(connection, sql).endswith(" format values"):
            return
        if len(rows) <= MAX_EXPRESSIONS_BYTES and self._are_checked(connection, rows, parameters):
            return
        if any(node == (1, "Set", "") for node in _nodes(self._tree(connection, sql, parameters))):
            raise NotAllowedError("long VALUES with a SETTINGS clause are not served; send settings as parameters")
        set_all(connection, NO_EXPRESSIONS)

    def _are_checked(self, connection: Connection, rows: bytes, parameters: Mapping[str, str] | None) -> bool:
        """False when the parser cannot read the rows as expressions. Raises NotAllowedError."""
        try:
            statement = f"SELECT {sql_text(rows)}"
            if connection.classify(statement)["statement_count"] != 1:
                return False
            self.check(connection, statement, control=False, parameters=parameters)
        except RuntimeError:
            return False
        return True

    def _tree(self, connection: Connection, sql: str, parameters: Mapping[str, str] | None = None) -> str:
        tree = connection.query(f"EXPLAIN AST {sql}", parameters=parameters)
        return str(tree.bytes().decode(errors="replace"))

    def _written(self, connection: Connection, sql: str) -> str:
        """The statement as the engine writes it, without comments and escapes, in lower case."""
        return connection.text(f"SELECT formatQuerySingleLine({literal(sql)})").strip().lower()

    def _check_node(self, name: str, word: str) -> None:
        if name in ("Identifier", "TableIdentifier") and word.partition(".")[0] == FILES_DATABASE:
            raise NotAllowedError(f"{FILES_DATABASE} would show files as tables")
        if name == "Function" and word.lower() in self._forbidden:
            raise NotAllowedError(f"{word} reaches files, programs or hosts outside of the embedded ClickHouse")
        # As in arrayMap(file, …).
        if name == "Identifier" and word.lower() == "file":
            raise NotAllowedError("file may be the function that reads a file; qualify a column of that name")

    def _check_format(self, tree: str) -> None:
        calls = sum(name == "Function" and word.lower() == "format" for _, name, word in _nodes(tree))
        if calls != len(_FORMAT_STRING.findall(tree)):
            raise NotAllowedError(
                "format() needs a literal format string with braces; the table function is not served"
            )

    def _check_sources(self, connection: Connection, sql: str, tree: str) -> None:
        sources = tree.count("FunctionWithKeyValueArguments")
        if not sources:
            return
        written = self._written(connection, sql)
        if len(_SOURCE.findall(tree)) != sources or any(f"{key} '" in written for key in _FORBIDDEN_KEYS):
            raise NotAllowedError("the source of a dictionary must be CLICKHOUSE(TABLE '…') of this ClickHouse")

    def _check_hidden(self, connection: Connection, sql: str, nodes: list[tuple[int, str, str]]) -> None:
        # EXPLAIN AST does not print what APPLY applies, the conditions of SHOW and the settings of a table.
        hides = any(name == "ColumnsApplyTransformer" for _, name, _ in nodes)
        root = nodes[0][1]
        if not hides and root not in ("CreateQuery", "AlterQuery") and not root.startswith("Show"):
            return
        written = self._written(connection, sql)
        if "disk(" in written:
            raise NotAllowedError("disk() puts data into another folder or onto another host")
        if hides or (root.startswith("Show") and " where " in written):
            for name in self._forbidden:
                if name in written:
                    raise NotAllowedError(f"APPLY and SHOW … WHERE with {name} in them are not served")


def _check_control(root: tuple[int, str, str], children: list[str]) -> None:
    kind = "SYSTEM" if root[1:] == ("SYSTEM", "query") else root[1]
    # The first child of KILL is its condition, which may be a literal.
    written = children[1:] if kind == "KillQueryQuery" else children
    if kind != "InsertQuery" and any(child.startswith("Literal ") for child in written):
        text = "INTO OUTFILE is not allowed: it writes a file; read the answer of the request"
        raise NotAllowedError(text, Code.INTO_OUTFILE_NOT_ALLOWED)
    if kind != "SYSTEM" and kind not in _CONTROL:
        raise NotAllowedError(f"the embedded ClickHouse does not serve {kind}")


def _names(connection: Connection, table: str) -> set[str]:
    return set(connection.text(f"SELECT lower(name) FROM system.{table}").split())


def _nodes(tree: str) -> Iterator[tuple[int, str, str]]:
    """Depth, kind and first word of each node; lines that are none are left out."""
    for line in tree.splitlines():
        if node := _NODE.match(line):
            yield len(node[1]), node[2], node[3] or ""
