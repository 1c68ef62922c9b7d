"""What a file holds, by its first bytes: a format that clickfold reads, or another one, which has a name.

Binary formats are recognised here, text in `texts`. A file is only called foreign when its beginning shows it: a file
with one JSON object on a line of its own is JSON lines, and the join judges its other lines.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.formats.delimited import delimiter
from streams.formats.kinds import LINES, TABLE, TYPED, Form
from streams.formats.packed import packing
from streams.formats.texts import BYTE_ORDER_MARK
from streams.inputs.texts import foreign_text, holds_object
from streams.mapping.language import Table

# Large enough for some hundred events, and for the name of a format that follows a long header.
HEAD_BYTES: Final = 1 << 16


_UNPACK: Final = "unpack it first, or send its lines to standard input: `{command} FILE | clickfold INPUT`"
_READS: Final = "clickfold reads JSON, CSV, Parquet, ORC, Arrow and Avro"
_EXPORT: Final = f"{_READS}: export it as one of them"

# How files of a format begin. Behind three letters a byte must follow that is no text, because a line of text may begin
# with the same letters.
_MAGIC: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"FEA1", "Feather", _EXPORT),
    (b"SEQ", "a Hadoop sequence file", _EXPORT),
    (b"RCF", "RCFile", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "HDF5", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or another Office document", _EXPORT),
    (b"%PDF", "PDF", _EXPORT),
    (b"\xfd7zXZ\x00", "xz", _UNPACK.format(command="xz -dc")),
    (b"]\x00\x00", "LZMA", _UNPACK.format(command="xz -dc")),
    (b"\x04\x22\x4d\x18", "LZ4", _UNPACK.format(command="lz4 -dc")),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy", _UNPACK.format(command="snzip -dc")),
    (b"\x1f\x9d", "compress (.Z)", _UNPACK.format(command="gzip -dc")),
    (b"7z\xbc\xaf\x27\x1c", "7z", _UNPACK.format(command="7z x -so")),
    (b"Rar!\x1a\x07", "RAR", "unpack it first"),
)
_UNPACKERS: Final = {"gzip": "gzip -dc", "bzip2": "bzip2 -dc", "zstd": "zstd -dc"}
_ZIPS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_LETTERS: Final = 3
_TEXT: Final = range(0x20, 0x7F)
# Where a tar header names itself.
_TAR: Final = slice(257, 262)


class Foreign(NamedTuple):
    """A format that clickfold does not read: what the file is, to follow "is", and what to do about it."""

    what: str
    remedy: str


def recognised(head: bytes, log: str, *, whole: bool, table: Table | None = None) -> Form | Foreign:
    """The format of a file: one that is read, or a foreign one. Nothing, and what may be JSON, is JSON lines.

    `head` is its beginning, unpacked and as UTF-8; `whole` says that the file ends with it. `table` is what a mapping
    says of tables. Without a mapping, records of another log than `log` ('impressions', 'clicks', 'campaigns',
    'outcomes' or 'auctions') are foreign.
    """
    for magic, name in TYPED:
        if head.startswith(magic) and (len(magic) > _LETTERS or head[_LETTERS] not in _TEXT):
            return Form(name)
    found = _binary(head)
    if found is not None:
        return found
    text = head.removeprefix(BYTE_ORDER_MARK)
    if b"\x00" in text and not holds_object(text, whole=whole):
        begins = f"it begins with the bytes {head[:8].hex(' ')}"
        return Foreign(f"not text: {begins}", _READS)
    if table is not None and (table.delimiter or table.names):
        found_delimiter = table.delimiter or delimiter(text.decode("utf-8", "replace"), whole=whole)
        return Form(TABLE, found_delimiter or ",")
    named = foreign_text(text, log if table is None else None, whole=whole)
    if isinstance(named, Form):
        return named
    return Foreign(*named) if named is not None else Form(LINES)


def _binary(head: bytes) -> Foreign | None:
    if within := packing(head):
        return Foreign(f"{within} within a compressed file", _UNPACK.format(command=_UNPACKERS[within]))
    if head.startswith(_ZIPS):
        if b"xl/" in head or b"[Content_Types].xml" in head:
            return Foreign("an Excel workbook", _EXPORT)
        return Foreign("a ZIP archive", _UNPACK.format(command="unzip -p"))
    for magic, name, remedy in _MAGIC:
        if head.startswith(magic) and (len(magic) > _LETTERS or head[_LETTERS] not in _TEXT):
            return Foreign(name, remedy)
    if head[_TAR] == b"ustar":
        return Foreign("a tar archive", _UNPACK.format(command="tar -xOf"))
    return None
