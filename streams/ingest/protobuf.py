"""Protobuf messages as objects: fields under the names of their `.proto`, enums as names, timestamps as moments.

A field without presence (proto3) has its default where the message does not carry it, as a producer that sets 0 and one
that sets nothing send the same bytes. A field with presence that is not set is absent.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

from streams.ingest.framed import Decode, message_indexes
from streams.mapping.values import Ms

_MAIN: Final = "clickfold_main.proto"
_SET: Final = "clickfold.set"
_COMPILE_S: Final = 30.0
# Bytes; file systems take 255.
_LONGEST_NAME: Final = 200
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


def protobuf_decoder(text: str, references: Sequence[tuple[str, str]]) -> Decode:
    """What makes an object of the body of a framed value. Raises ValueError for a schema that does not compile."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

    files = descriptor_pb2.FileDescriptorSet.FromString(_compiled(text, references))
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    outermost = pool.FindFileByName(_MAIN)

    @cache
    def message_of(which: tuple[int, ...] | str) -> tuple[Any, Callable[[Any], Any]]:
        messages = list(outermost.message_types_by_name.values())
        kind = _named(messages, which) if isinstance(which, str) else _indexed(messages, which)
        return message_factory.GetMessageClass(kind), _converter(kind)

    def decode(body: bytes, which: tuple[int, ...] | str | None) -> Any:
        at = 0
        if which is None:
            which, at = message_indexes(body)
        message, convert = message_of(which)
        try:
            return convert(message.FromString(body[at:]))
        except DecodeError as error:
            raise ValueError(f"it is not of its Protobuf schema: {error}") from error

    return decode


def _indexed(messages: Sequence[Any], indexes: tuple[int, ...]) -> Any:
    """The type at a path of indexes."""
    kind = None
    for index in indexes:
        if not 0 <= index < len(messages):
            raise ValueError(f"its schema has no message {'.'.join(map(str, indexes))}")
        kind = messages[index]
        messages = _declared_in(kind)
    return kind


def _named(messages: Sequence[Any], name: str) -> Any:
    """The type of a name, the outermost first; without a name the first type."""
    found = list(messages)
    for kind in found:
        if name in ("", kind.name, kind.full_name):
            return kind
        found += _declared_in(kind)
    raise ValueError(f"its schema has no message {name[:80]!r}")


def _declared_in(kind: Any) -> list[Any]:
    """The messages that a message declares; the entries of maps are none that its text has."""
    return [each for each in kind.nested_types if not each.GetOptions().map_entry]


def _compiled(text: str, references: Sequence[tuple[str, str]]) -> bytes:
    """The descriptors of a schema and all it builds on. A process of its own: the schema is somebody else's."""
    import grpc_tools

    bundled = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory(prefix="clickfold-proto-") as folder:
        for name, content in ((_MAIN, text), *references):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or len(name.encode()) > _LONGEST_NAME:
                raise ValueError(_no_file(name))
            if (bundled / name).is_file():
                continue
            try:
                (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / path).write_text(content, "utf-8")
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise ValueError(_no_file(name)) from error
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={folder}", f"--proto_path={bundled}"]
        command += ["--include_imports", f"--descriptor_set_out={folder}/{_SET}", _MAIN]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"its schema did not compile within {_COMPILE_S:.0f} s") from error
        if done.returncode:
            raise ValueError(f"its schema is no Protobuf schema: {(done.stderr or done.stdout).strip()[:200]}")
        return (Path(folder) / _SET).read_bytes()


@cache
def _no_file(name: str) -> str:
    return f"its schema builds on {name[:80]!r}, which is no name of a file"


def _converter(kind: Any) -> Callable[[Any], Any]:
    """What makes an object of messages of a type."""
    if kind.full_name == "google.protobuf.Timestamp":
        return lambda message: Ms(message.seconds * 1_000 + message.nanos // 1_000_000)
    if kind.full_name in _WRAPPERS:
        return lambda message: message.value
    if kind.full_name in ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"):
        from google.protobuf.json_format import MessageToDict

        return lambda message: MessageToDict(message)
    # Made at the first message: a type may contain itself.
    fields: list[tuple[str, bool, Callable[[Any], Any]]] = []

    def convert(message: Any) -> dict[str, Any]:
        if not fields:
            fields.extend((field.name, field.has_presence, _field(field)) for field in kind.fields)
        return {
            name: read(getattr(message, name))
            for name, may_be_absent, read in fields
            if not (may_be_absent and not message.HasField(name))
        }

    return convert


def _field(field: Any) -> Callable[[Any], Any]:
    """What makes a value of a field's, of one or of all it repeats."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        of_value = _one(inner.fields_by_name["value"])
        return lambda entries: {str(name): of_value(value) for name, value in entries.items()}
    of_one = _one(field)
    if field.is_repeated:
        return lambda values: [of_one(value) for value in values]
    return of_one


def _one(field: Any) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return _converter(field.message_type)
    if field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return lambda number: names.get(number, number)
    return lambda value: value
