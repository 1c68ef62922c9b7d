"""Names in comments and docstrings exist: a comment that speaks of what is gone misleads whoever trusts it.

What looks like a name: words in backticks, with an underscore, in camel case or with parentheses behind; dotted names
that begin with a package or a class of ours; paths of files.
"""

from __future__ import annotations

import ast
import builtins
import functools
import io
import keyword
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sources import FOLDERS, ROOT, Source, sources

# Names of others that our code does not use, by whose they are.
FOREIGN = {
    "River": "optim FTRLProximal ROCAUC",
    "ClickHouse": "DateTime DateTime64 BAD_QUERY_PARAMETER default_replica_path http_receive_timeout queryID "
    "HadoopSnappyReadBuffer http_zlib_compression_level replace_running_query_max_wait_time_ms default_session_timeout",
    "ClickHouse's forms": "NAME_structure NAME_types NAME_format",
    "chDB": "send_insert total_rows_to_read",
    "Kafka's protocol": "InitProducerId TxnOffsetCommit EndTxn JoinGroup",
    "Kafka's tests": "UtilsTest testMurmur2",
    "librdkafka": "fnv1a_random produce_batch",
    "Maven": "central mvn",
    "fsspec and the S3 client": "AWS_ FSSPEC_",
    "Linux": "CAP_SYS_NICE",
    "Python": "BaseTransport GzipFile ValueErrors",
    "people": "McMahan MacKay",
    "algorithms": "AdaGrad MurmurHash3 SplitMix64",
    "formats": "MessagePack",
    "parts of a command line": "PARENT_PID LOCK_FD NOTE COMMAND F",
}
# Files that are written by users or at run time, or that stand for many.
FILES = {"NNNN_name.sql", "NAME.txt", "outcomes.jsonl", "totals.csv", "ATTRIBUTION.md", "page.md"}

TICKED = re.compile(r"``?([^`]+)``?")
FILE = re.compile(r"(?<![\w.<{*-])[\w/.-]*\w\.(?:py|md|sql|txt|toml|sh|json|jsonl|csv)\b")
DOTTED = re.compile(r"(?<![\w/.-])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?")
RUN_TOGETHER = re.compile(r"(?:[A-Z][a-z0-9]+){2,}")


def remarks(source: Source) -> Iterator[tuple[int, str]]:
    """Comments and docstrings of a file, by line."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in source.nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body[:1]:
                case [ast.Expr(ast.Constant(str() as text), lineno=first)]:
                    yield from enumerate(text.split("\n"), first)


class Names:
    """All names of our code."""

    def __init__(self) -> None:
        self.identifiers = {*dir(builtins), *keyword.kwlist, *" ".join(FOREIGN.values()).split()}
        # Words of strings: columns, options, metrics, what a topic is called. Those of prose are found among them too.
        self.words: set[str] = set()
        self.strings: set[str] = set()
        self.bases: dict[str, list[str]] = {}
        self.members: defaultdict[str, set[str]] = defaultdict(set)
        self.files = {path.relative_to(ROOT).as_posix() for name in ("deploy", *FOLDERS) for path in _in(name)}
        self.files |= {path.name for path in ROOT.iterdir()}
        # But for this file, which speaks of what must not exist.
        for source in (source for source in sources().values() if source.module != __name__):
            self.identifiers.update(source.module.split("."))
            self._take(source.nodes)
        for name in self.files:
            if name.startswith("deploy/") or name.endswith(".sql"):
                self.words.update(re.findall(r"\w+", (ROOT / name).read_text(encoding="utf-8")))

    def _take(self, nodes: Sequence[ast.AST]) -> None:
        prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                    self.identifiers.add(name)
                case ast.alias(name=name, asname=asname):
                    self.identifiers.update((*name.split("."), asname or ""))
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self.identifiers.add(name)
                case ast.ClassDef(name=name, bases=bases):
                    self.identifiers.add(name)
                    self.bases[name] = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in bases]
                    self.members[name] |= set(_members(node))
                case ast.Constant(value=str(text)) if id(node) not in prose:
                    self.words.update(re.findall(r"\w+", text))
                    self.strings.update(re.split(r"[ .:/=,-]+", text) if len(text) < 60 else ())

    def has_file(self, name: str) -> bool:
        """Whether this is the end of the path of a file."""
        return name.rpartition("/")[2] in FILES or any(f"/{path}".endswith(f"/{name}") for path in self.files)

    def has_member(self, class_name: str, name: str) -> bool:
        """Whether a class of ours, or one it is made from, sets it; of others' classes nobody knows."""
        if class_name not in self.bases:
            return True
        return name in self.members[class_name] or any(self.has_member(base, name) for base in self.bases[class_name])

    def has_word(self, word: str) -> bool:
        """Whether one word is a name: an identifier, the whole of a string, or part of one and no word of prose."""
        unlike_prose = "_" in word or word.isupper()
        return word in self.identifiers or word in self.strings or (unlike_prose and word in self.words)

    def has(self, name: str) -> bool:
        """Whether a dotted name is one."""
        first, *rest = name.removesuffix("()").split(".")
        if rest and first in FOLDERS:
            module, inner = first, rest
            while inner and f"{module}.{inner[0]}" in sources():
                module, inner = f"{module}.{inner[0]}", inner[1:]
            return not inner or re.search(rf"\b{inner[0]}\b", sources()[module].text) is not None
        if rest and first in self.bases and not self.has_member(first, rest[0]):
            return False
        return all(self.has_word(word) for word in (first, *rest))

    def missing(self, text: str) -> Iterator[str]:
        """What looks like a name in a line of prose, and is none."""
        yield from (name for name in map(_bare, FILE.findall(text)) if not self.has_file(name))
        text = FILE.sub(" ", text)
        ticked = [name for part in TICKED.findall(text) for name in DOTTED.findall(part)]
        plain = [name for name in DOTTED.findall(TICKED.sub(" ", text)) if self._looks_like_one(name)]
        yield from (name for name in (*ticked, *plain) if not self.has(name))

    def _looks_like_one(self, name: str) -> bool:
        words = name.removesuffix("()").split(".")
        return (
            name.endswith("()")
            or (len(words) > 1 and (words[0] in FOLDERS or words[0] in self.bases))
            or any("_" in word.strip("_") or RUN_TOGETHER.fullmatch(word) for word in words)
        )


def _in(folder: str) -> Iterator[Path]:
    return (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _members(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        match part:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def _bare(path: str) -> str:
    return path.lstrip("./")


@functools.cache
def names() -> Names:
    return Names()


def test_names_in_comments_and_docstrings_exist() -> None:
    found = [
        f"{path}:{line}: {name}"
        for source in sources().values()
        for path in [source.path.as_posix()]
        for line, text in remarks(source)
        for name in names().missing(text)
    ]
    assert not found, "\n".join(found)


def test_what_is_gone_is_found_however_it_is_written() -> None:
    gone = ("`no_such_thing`", "no_such_thing", "`nosuchthing`", "nosuchthing()", "NoSuchThing", "no/such/thing.py")
    ours = ("streams.no_such_room", "`streams.join.nosuchmodule`", "`JoinBounds.nosuchfield`", "JoinBounds.nosuchfield")
    assert [text for text in (*gone, *ours) if not list(names().missing(f"Says {text}, or so."))] == []
    there = ("`window_ms`", "`JoinBounds.window_ms`", "streams.join.fold", "`schemas.bounds.JoinBounds`", "fold.py")
    assert [text for text in there if list(names().missing(f"Says {text}, or so."))] == []
