"""Opens a file, a pipe or standard input as unpacked bytes, after it was recognised by its beginning."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from schemas.errors import SettingsError
from streams.inputs.recognise import GZIP_MAGIC, HEAD_BYTES, foreign

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN: Final = Path("-")
_STDIN_NAMES: Final = frozenset({STDIN, Path("/dev/stdin"), Path("/dev/fd/0"), Path("/proc/self/fd/0")})
# What a damaged gzip file raises. A truncated one ends in EOFError.
DAMAGED: Final = (EOFError, zlib.error, gzip.BadGzipFile)
# Below this, iterating over lines spends its time asking gzip for more.
_BUFFER_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 13


def as_given(path: Path) -> Path:
    """The path, or `STDIN` for any name of standard input: it is one stream, whichever names it has."""
    return STDIN if path in _STDIN_NAMES else path


class Source:
    """One file of a log, recognised. `open` gives its bytes from the start; a pipe is read only once unless kept.

    `keep` copies a pipe to a temporary file, so that it can be read again. Raises SettingsError when the file is
    missing, unreadable, or no JSON lines of `log`.
    """

    def __init__(self, path: Path, log: str, *, keep: bool = False) -> None:
        self.path = path
        self.name = "standard input" if path == STDIN else str(path)
        self._log = log
        self._subject = f"standard input (--{log})" if path == STDIN else f"{log} file {path}"
        self._stream: BinaryIO | None = None
        if not _is_regular(path, log):
            self._stream = _kept(_opened(path, log)) if keep else _opened(path, log)
        self._is_kept = keep
        self._is_gzip = False
        packed = self._packed()
        try:
            self._recognise(packed)
        finally:
            if self._stream is None:
                packed.close()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes from the start, unpacked."""
        packed = self._packed()
        try:
            yield self._unpacked(packed)
        finally:
            if self._stream is None:
                packed.close()

    def damaged(self, line: int, error: Exception) -> SettingsError:
        """The error for a gzip file that cannot be unpacked behind its line with this number, from 1."""
        where = f"after line {line}" if line else "before the end of its first line"
        return SettingsError(
            f"{self._subject} is damaged or cut short {where}: {error}; restore it, or unpack what is "
            "readable and give that"
        )

    def _packed(self) -> BinaryIO:
        if self._stream is None:
            return _opened(self.path, self._log)
        if self._is_kept:
            self._stream.seek(0)
        return self._stream

    def _unpacked(self, packed: BinaryIO) -> BinaryIO:
        # A GzipFile hands out lines through Python; a BufferedReader around it does so in C.
        if self._is_gzip:
            return io.BufferedReader(_Unpacking(packed), _BUFFER_BYTES)
        return packed

    def _recognise(self, packed: BinaryIO) -> None:
        begin = packed.read(HEAD_BYTES)
        head, whole = begin, len(begin) < HEAD_BYTES
        self._is_gzip = begin.startswith(GZIP_MAGIC)
        if self._is_gzip:
            head, whole = _head(gzip.GzipFile(fileobj=io.BytesIO(begin)), whole=whole)
        elif self.path.suffix == ".gz" and begin:
            raise SettingsError(
                f"{self._log} file {self.path} is not gzip, although its name ends in .gz; compress it, or drop the .gz"
            )
        if self._stream is not None and not self._is_kept:
            self._stream = io.BufferedReader(_Rejoined(begin, packed), _BUFFER_BYTES)
        found = foreign(head, self._log, whole=whole)
        if found is not None:
            words = {"FILE": "…" if self.path == STDIN else shlex.quote(self.name), "INPUT": _from_stdin(self._log)}
            # In one go: the name of the file may have such a word too.
            remedy = re.sub(r"\b(?:FILE|INPUT)\b", lambda word: words[word[0]], found.remedy)
            raise SettingsError(f"{self._subject} is {found.what}; {remedy}")


class _Unpacking(io.RawIOBase):
    """What a gzip file holds, as far as it can be unpacked.

    A GzipFile that is asked for a megabyte drops what it has unpacked of it when it comes to the damage.
    """

    def __init__(self, packed: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=packed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._file.read1(len(view))
        view[: len(data)] = data
        return len(data)


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already, from its start."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        data = self._head.read(len(view)) or self._rest.read(len(view))
        view[: len(data)] = data
        return len(data)


def _is_regular(path: Path, log: str) -> bool:
    if path == STDIN:
        return False
    try:
        if path.is_dir():
            # A variable of the shell that is empty gives an empty name.
            empty = ", as is an empty name" if path == Path() else ""
            raise SettingsError(f"{log} file {path} is a folder{empty}; name its files, such as {path}/*.jsonl")
        if not path.exists():
            raise SettingsError(f"{log} file {path} does not exist{_missing(path, log)}")
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, log, error) from error


def _from_stdin(log: str) -> str:
    """What follows `clickfold` on the command line that reads this log from standard input."""
    return "learn -" if log == "outcomes" else f"… --{log} -"


def _missing(path: Path, log: str) -> str:
    """What a name of no file probably means, and what to give."""
    # A path has one slash where the address had two.
    address = re.match(r"([a-z][a-z0-9+]*):/+(?=[^/])", str(path))
    if address is not None:
        return f": it is an address; send its lines to standard input: `DOWNLOAD | clickfold {_from_stdin(log)}`"
    if set("*?[") & set(str(path)):
        if glob(str(path)):
            return ": it is a pattern that the shell has not expanded; leave out the quotes"
        return ": it is a pattern that matches no file; give the path of a .jsonl or .jsonl.gz file"
    return "; give the path of a .jsonl or .jsonl.gz file"


def _opened(path: Path, log: str) -> BinaryIO:
    if path == STDIN:
        # None: the caller has closed it, as `<&-` does.
        if sys.stdin is None:
            raise SettingsError(f"standard input is closed, and --{log} names it; give it a file or a pipe")
        return sys.stdin.buffer
    try:
        return path.open("rb", _BUFFER_BYTES)
    except OSError as error:
        raise _unreadable(path, log, error) from error


def _unreadable(path: Path, log: str, error: OSError) -> SettingsError:
    return SettingsError(f"{log} file {path} cannot be read: {error.strerror}; check its path and rights")


def _kept(stream: BinaryIO) -> BinaryIO:
    # Deleted by the system when the process ends.
    copy = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115  # open as long as the source
    shutil.copyfileobj(stream, copy)
    return copy  # type: ignore[return-value]  # it reads, writes and seeks; typeshed has no protocol for both


def _head(unpacking: gzip.GzipFile, *, whole: bool) -> tuple[bytes, bool]:
    """What can be unpacked of the beginning, and whether it is everything. Damage is reported when it is read."""
    head = b""
    try:
        while len(head) < HEAD_BYTES and (piece := unpacking.read1(_PIECE_BYTES)):
            head += piece
    except DAMAGED:
        return head, False
    return head, whole and len(head) < HEAD_BYTES
