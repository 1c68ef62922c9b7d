"""What a file holds, by its first bytes: JSON lines, which clickfold reads, or another format, which has a name.

Binary formats are recognised here, text in `texts`. A file is only called foreign when its beginning shows it: a file
with one JSON object on a line of its own is JSON lines, and the join judges its other lines.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.inputs.texts import foreign_text, holds_object

# Large enough for some hundred events, and for the name of a format that follows a long header.
HEAD_BYTES: Final = 1 << 16

GZIP_MAGIC: Final = b"\x1f\x8b"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_UNPACK: Final = "unpack it first, or send its lines to standard input: `{command} FILE | clickfold INPUT`"
_EXPORT: Final = "clickfold reads JSON lines, plain or gzip: export it as one JSON object a line"

# How files of a format begin. Behind three letters a byte must follow that is no text, because a line of text may begin
# with the same letters.
_MAGIC: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"PAR1", "Parquet", _EXPORT),
    (b"Obj\x01", "Avro", _EXPORT),
    (b"ORC", "ORC", _EXPORT),
    (b"ARROW1", "Arrow (Feather)", _EXPORT),
    (b"\xff\xff\xff\xff", "an Arrow stream", _EXPORT),
    (b"FEA1", "Feather", _EXPORT),
    (b"SEQ", "a Hadoop sequence file", _EXPORT),
    (b"RCF", "RCFile", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "HDF5", _EXPORT),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or another Office document", _EXPORT),
    (b"%PDF", "PDF", _EXPORT),
    (b"\x28\xb5\x2f\xfd", "zstd", _UNPACK.format(command="zstd -dc")),
    *((b"BZh%d1AY" % level, "bzip2", _UNPACK.format(command="bzip2 -dc")) for level in range(1, 10)),
    (b"\xfd7zXZ\x00", "xz", _UNPACK.format(command="xz -dc")),
    (b"]\x00\x00", "LZMA", _UNPACK.format(command="xz -dc")),
    (b"\x04\x22\x4d\x18", "LZ4", _UNPACK.format(command="lz4 -dc")),
    (b"\xff\x06\x00\x00sNaPpY", "Snappy", _UNPACK.format(command="snzip -dc")),
    (b"\x1f\x9d", "compress (.Z)", _UNPACK.format(command="gzip -dc")),
    (b"7z\xbc\xaf\x27\x1c", "7z", _UNPACK.format(command="7z x -so")),
    (b"Rar!\x1a\x07", "RAR", "unpack it first"),
)
_ZIPS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_UTF_32: Final = (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_LETTERS: Final = 3
_TEXT: Final = range(0x20, 0x7F)
# Where a tar header names itself.
_TAR: Final = slice(257, 262)


class Foreign(NamedTuple):
    """A format that clickfold does not read: what the file is, to follow "is", and what to do about it."""

    what: str
    remedy: str


def foreign(head: bytes, log: str, *, whole: bool) -> Foreign | None:
    """The format of a file that is no JSON lines of `log` ('impressions', 'clicks' or 'campaigns'); None for one that
    is, or may be.

    `head` is its beginning, unpacked when the file is gzip; `whole` says that the file ends with it.
    """
    found = _binary(head) or _encoded(head)
    if found is not None:
        return found
    text = head.removeprefix(BYTE_ORDER_MARK)
    if b"\x00" in text and not holds_object(text, whole=whole):
        begins = f"it begins with the bytes {head[:8].hex(' ')}"
        return Foreign(f"not text: {begins}", "clickfold reads JSON lines, plain or gzip")
    named = foreign_text(text, log, whole=whole)
    return Foreign(*named) if named is not None else None


def _binary(head: bytes) -> Foreign | None:
    if head.startswith(GZIP_MAGIC):
        return Foreign("gzip within gzip", _UNPACK.format(command="gzip -dc"))
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


def _encoded(head: bytes) -> Foreign | None:
    """UTF-16 and UTF-32, with a byte order mark or without."""
    for marks, name in ((_UTF_32, "UTF-32"), (_UTF_16, "UTF-16")):
        if head.startswith(marks):
            return _utf(name)
    # Without a mark: ASCII as UTF-16 has a zero in every other byte.
    begin = head[:64]
    if len(begin) >= 4 and (not any(begin[1::2]) or not any(begin[::2])) and any(begin):
        return _utf("UTF-32" if not any(begin[1::4]) and not any(begin[2::4]) else "UTF-16")
    return None


def _utf(name: str) -> Foreign:
    return Foreign(f"{name}, as PowerShell's `>` writes", f"write it as UTF-8: `iconv -f {name} -t UTF-8 FILE > LINES`")
