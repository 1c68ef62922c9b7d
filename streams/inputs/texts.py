"""What a text holds: JSON objects, one a line or otherwise, CSV, or something that is not read, by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from streams.formats.delimited import delimiter
from streams.formats.kinds import OBJECTS, TABLE, Form

_ALONE: Final = "give one object a line"
_LINES: Final = "clickfold reads JSON objects, one a line, and CSV with a line of names"
_MARKUP: Final = re.compile(rb"<(!doctype\s+html|html|\?xml|error)\b", re.I)
_EXCERPT_CHARS: Final = 40
_SEEN_LINES: Final = 20

# How an object begins that is a list of objects under a name, and fields of which every record has one.
_OPENING: Final = re.compile(rb'\{\s*"(\w{1,64})"\s*:\s*\[\s*\{')
_NAMES: Final = frozenset({"impression_id", "click_id", "campaign_id"})
_IDS: Final = re.compile(rb'"(impression|click|campaign)_id"\s*:')

# Fields that only one of the three kinds of records has.
_KINDS: Final = {
    "campaigns": {"daily_budget_micros"},
    "impressions": {"price_micros", "creative_id"},
    "clicks": {"click_id"},
}
# Fields that tell a record of these logs from the impressions and clicks whose fields it has too.
_OWN: Final[dict[str, set[str]]] = {"outcomes": {"label", "join_partition"}, "auctions": {"clicked"}}


def foreign_text(text: bytes, log: str | None, *, whole: bool) -> Form | tuple[str, str] | None:
    """The form of a text without byte order mark, or what it is that is not read, and what to do about it.

    None for JSON lines of `log` (of any log where it is None), and for no text. `whole` says that the file ends with
    `text`; else its last line may be incomplete and is not judged.
    """
    begin = text.lstrip()
    if not begin:
        return None
    lines = _lines(text, whole=whole)
    objects = list(_objects(lines))
    is_array = re.match(rb"\[\s*[\[{\]]", begin) is not None
    wrapper = _wrapper(begin, objects)
    if wrapper is not None:
        return wrapper
    # The first line shows an array or an object that spans lines, although one of their lines may be an object itself.
    if objects and (_is_json(begin.partition(b"\n")[0]) or not (is_array or _spans_lines(begin))):
        return _other_log(objects, log) if log is not None else None
    if is_array or (begin.startswith(b"[") and _is_json(begin.partition(b"\n")[0])):
        return _array(begin)
    if begin.startswith(b"{"):
        return _not_one_a_line(begin)
    if begin.startswith(b'"{'):
        return "JSON text within strings, encoded twice", "decode it once: `jq -c fromjson FILE > LINES`"
    return _no_json(text, begin, whole=whole)


def _wrapper(begin: bytes, objects: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Names one object that holds all records in a list, as many interfaces answer; None for records themselves."""
    name = None
    if not objects:
        # The object spans lines, or its line is longer than what is seen.
        opening = _OPENING.match(begin)
        name = opening[1].decode("utf-8", "replace") if opening is not None and _IDS.search(begin) else None
    elif len(objects) == 1 and not _NAMES & objects[0].keys():
        lists = {key: value for key, value in objects[0].items() if isinstance(value, list) and value}
        name = next((key for key, held in lists.items() if isinstance(held[0], dict) and _NAMES & held[0].keys()), None)
    # Another name would need quotes in the remedy.
    if name is None or re.fullmatch(r"\w{1,64}", name) is None:
        return None
    return f"one object that holds a list of records, {name!r}", f"{_ALONE}: `jq -c '.{name}[]' FILE > LINES`"


def holds_object(text: bytes, *, whole: bool) -> bool:
    """Whether a line of the text is a JSON object by itself."""
    return any(True for _ in _objects(_lines(text, whole=whole)))


def _lines(text: bytes, *, whole: bool) -> list[bytes]:
    lines = text.split(b"\n")
    return lines if whole else lines[:-1]


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects by themselves."""
    for line in lines:
        if line.lstrip().startswith(b"{"):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                yield found


def kind_of(fields: dict[str, Any]) -> str | None:
    """The log that an object belongs to, by fields that only its records have; None where they do not tell."""
    kinds = [kind for kind, names in _KINDS.items() if names & fields.keys()]
    return kinds[0] if len(kinds) == 1 else None


def _other_log(objects: list[dict[str, Any]], log: str) -> tuple[str, str] | None:
    """Names the log that all objects belong to when it is not this one."""
    own: set[str] = _OWN.get(log, set())
    if any(own & fields.keys() for fields in objects):
        return None  # it has the fields of its impression, and of its click
    kinds = {kind_of(fields) for fields in objects}
    (kind,) = kinds if len(kinds) == 1 else (None,)
    if kind is None or kind == log:
        return None
    field = min(_KINDS[kind] & objects[0].keys())
    if log == "outcomes":
        return (
            f"a file of {kind}: its lines have the field {field}",
            "join impressions and clicks first: `clickfold fold --impressions IMPRESSIONS --clicks CLICKS > OUTCOMES`",
        )
    return (
        f"a file of {kind}: its lines have the field {field}",
        f"give it as --{kind}, and a file of {log} as --{log}",
    )


def _array(begin: bytes) -> Form | tuple[str, str]:
    first, _, rest = begin.partition(b"\n")
    if _is_json(first) and rest.lstrip().startswith(b"["):
        return "not JSON lines of objects: it holds a JSON array a line", _LINES
    if begin[1:].lstrip().startswith((b"{", b"]")):
        return Form(OBJECTS)
    return "a JSON array whose elements are no objects", _LINES


def _not_one_a_line(begin: bytes) -> Form | tuple[str, str] | None:
    """Objects that span lines, or share one. None for an object that is broken: the join says what is wrong with it."""
    if begin[1:].lstrip(b" ").startswith(b"'"):
        return "not JSON: its strings have single quotes, as Python prints a dict", "write it with json.dumps"
    return Form(OBJECTS) if _spans_lines(begin) or objects_in(begin) > 1 else None


def objects_in(line: bytes) -> int:
    """How many objects a line begins with, 2 for more than one: the others may be cut short."""
    text = line.decode("utf-8", "replace").lstrip()
    end = _object_end(text)
    if end is None:
        return 0
    return 2 if text[end:].lstrip(" \t\r,").startswith("{") else 1


def _spans_lines(begin: bytes) -> bool:
    text = begin.decode("utf-8", "replace")
    end = _object_end(text)
    if end is not None:
        return "\n" in text[:end]
    # An object longer than the head: its first line opens it and no more.
    first, _, rest = text.partition("\n")
    return first.strip() == "{" and rest.lstrip().startswith('"')


def _object_end(text: str) -> int | None:
    """Where the object ends that a text begins with; None when there is none, or it is not complete."""
    if not text.startswith("{"):
        return None
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _no_json(text: bytes, begin: bytes, *, whole: bool) -> Form | tuple[str, str]:
    if _MARKUP.match(begin):
        return "HTML or XML, as servers send with an error", "download the file again"
    if begin.startswith(b"version https://git-lfs.github.com/"):
        return "a pointer of Git LFS, not the file itself", "fetch it: `git lfs pull`"
    before = _text_before_objects(_lines(text, whole=whole))
    if before is not None:
        return (
            f"not JSON lines: its objects stand behind other text, such as {before!r}",
            f"{_ALONE}: `sed 's/^[^{{]*//' FILE > LINES`",
        )
    found = delimiter(text.decode("utf-8", "replace"), whole=whole)
    if found:
        return Form(TABLE, found)
    first = begin.partition(b"\n")[0].decode("utf-8", "replace").strip()
    return f"neither JSON nor a table: it begins with {first[:_EXCERPT_CHARS]!r}", _LINES


def _text_before_objects(lines: list[bytes]) -> str | None:
    """What the first line has before its object, if most lines are an object behind other text.

    So logs write events, streams of server-sent events, JSON text sequences and `kafka-console-consumer` with keys.
    """
    lines = [line for line in lines if line.strip()][:_SEEN_LINES]
    starts = [line.find(b"{") for line in lines]
    behind = [line[:at] for line, at in zip(lines, starts, strict=True) if at > 0 and any(_objects([line[at:]]))]
    if not behind or 2 * len(behind) < len(lines):
        return None
    return behind[0].decode("utf-8", "replace")[:_EXCERPT_CHARS]
