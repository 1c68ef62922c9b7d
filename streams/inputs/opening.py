"""Opens a file, an address, a pipe or standard input as unpacked bytes, after it was recognised by its beginning."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from schemas.errors import SettingsError
from streams.formats.addresses import Address, opened
from streams.formats.damage import Damaged
from streams.formats.encodings import encoding, recoded, recoded_head
from streams.formats.kinds import Form
from streams.formats.packed import BUFFER_BYTES, SUFFIXES, head, packing, spooled, unpacked
from streams.inputs.recognise import HEAD_BYTES, recognised
from streams.mapping.language import Table

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN: Final = Path("-")
_STDIN_NAMES: Final = frozenset({STDIN, Path("/dev/stdin"), Path("/dev/fd/0"), Path("/proc/self/fd/0")})


def as_given(path: Path) -> Path:
    """The path, or `STDIN` for any name of standard input: it is one stream, whichever names it has."""
    return STDIN if path in _STDIN_NAMES else path


class Copy:
    """What standard input holds, in a temporary file that ends with this object: several logs may read it."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="clickfold-stdin-")  # noqa: SIM115  # open as long as the copy
        shutil.copyfileobj(_opened(STDIN, "impressions"), self._file)
        self._file.flush()
        self.path = Path(self._file.name)


class Source:
    """One file of a log, recognised. `open` gives its bytes from the start; a pipe is read only once unless kept.

    `keep` copies a pipe to a temporary file, so that it can be read again; `copy` is one that is there. `table` says
    how a table without a schema is read, None for a log without a mapping. Raises SettingsError when the file is
    missing, unreadable, or nothing that is read.
    """

    def __init__(
        self, path: Path, log: str, *, keep: bool = False, table: Table | None = None, copy: Copy | None = None
    ) -> None:
        self.path = path
        self.name = "standard input" if path == STDIN else str(path)
        self._log = log
        self.subject = f"standard input (--{log})" if path == STDIN else f"{log} file {path}"
        self._stream: BinaryIO | None = None
        self._reading: BinaryIO | None = None
        self._is_kept = keep
        self._copy = copy
        if copy is None and not isinstance(path, Address) and not _is_regular(path, log):
            self._stream = _kept(self._opened()) if keep else self._opened()
        self._packing = self._encoding = ""
        self.form = Form()
        packed = self._packed()
        try:
            self._recognise(packed, table)
        finally:
            if self._stream is None:
                packed.close()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes from the start, unpacked, and as UTF-8 where they are text."""
        packed = self._reading = self._packed()
        try:
            stream = self._unpacked(packed)
            if not self.form.seeks or (not self._packing and stream.seekable()):
                yield stream
                return
            with self._spooled(stream) as copy:
                yield copy
        finally:
            self._reading = None
            if self._stream is None:
                packed.close()

    def bytes_read(self) -> int:
        """How many bytes of the file, as it is stored, were read so far; 0 for a pipe."""
        return self._reading.tell() if self._reading is not None and self._reading.seekable() else 0

    def size(self) -> int:
        """Bytes of the file as it is stored; 0 where that is not known."""
        if isinstance(self.path, Address) or self._stream is not None:
            return 0
        return (self._copy.path if self._copy is not None else self.path).stat().st_size

    def damaged(self, record: int, error: Exception) -> SettingsError:
        """The error for a file that cannot be read behind its record with this number, from 1."""
        unit = self.form.unit
        where = f"after {unit} {record}" if record else f"before the end of its first {unit}"
        kind = f"{self.form.kind} and " if self.form.is_typed else ""
        return SettingsError(
            f"{self.subject} is {kind}damaged or cut short {where}: {error}; restore it, or unpack what is "
            "readable and give that"
        )

    def _opened(self) -> BinaryIO:
        if isinstance(self.path, Address):
            return opened(self.path, self.subject)
        return _opened(self._copy.path if self._copy is not None else self.path, self._log)

    def _packed(self) -> BinaryIO:
        if self._stream is None:
            return self._opened()
        if self._is_kept:
            self._stream.seek(0)
        return self._stream

    def _unpacked(self, packed: BinaryIO) -> BinaryIO:
        stream = unpacked(packed, self._packing) if self._packing else packed
        return recoded(stream, self._encoding) if self._encoding else stream

    def _spooled(self, stream: BinaryIO) -> BinaryIO:
        try:
            return spooled(stream, self.size())
        except SettingsError as error:
            raise SettingsError(f"{self.subject}: {error}") from error

    def _recognise(self, packed: BinaryIO, table: Table | None) -> None:
        try:
            begin = packed.read(HEAD_BYTES)
        except Damaged as error:
            raise self.damaged(0, error) from error
        beginning, whole = begin, len(begin) < HEAD_BYTES
        self._packing = packing(begin)
        named = SUFFIXES.get(self.path.suffix)
        if self._packing:
            beginning, whole = head(begin, self._packing, HEAD_BYTES, whole=whole)
        elif named and begin:
            suffix = self.path.suffix
            raise SettingsError(
                f"{self.subject} is not {named}, although its name ends in {suffix}; compress it, or drop the {suffix}"
            )
        if self._stream is not None and not self._is_kept:
            self._stream = io.BufferedReader(_Rejoined(begin, packed), BUFFER_BYTES)
        self._encoding = encoding(beginning)
        if self._encoding:
            beginning = recoded_head(beginning, self._encoding)
        found = recognised(beginning, self._log, whole=whole, table=table)
        if isinstance(found, Form):
            self.form = found
            return
        words = {"FILE": "…" if self.path == STDIN else shlex.quote(self.name), "INPUT": _from_stdin(self._log)}
        # In one go: the name of the file may have such a word too.
        remedy = re.sub(r"\b(?:FILE|INPUT)\b", lambda word: words[word[0]], found.remedy)
        raise SettingsError(f"{self.subject} is {found.what}; {remedy}")


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already, from its start."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = io.BytesIO(head)
        self._rest: Any = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        # What a pipe has now, without waiting until the buffer is full.
        data = self._head.read(len(view)) or self._rest.read1(len(view))
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
            raise SettingsError(f"{log} file {path} does not exist{_missing(path)}")
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, log, error) from error


def _from_stdin(log: str) -> str:
    """What follows `clickfold` on the command line that reads this log from standard input."""
    return "learn -" if log == "outcomes" else f"… --{log} -"


def _missing(path: Path) -> str:
    """What a name of no file probably means, and what to give."""
    if str(path).startswith("kafka:"):
        return "; it names a topic, which only `clickfold map guess` and `clickfold map check` read so"
    if set("*?[") & set(str(path)):
        if glob(str(path)):
            return ": it is a pattern that the shell has not expanded; leave out the quotes"
        return ": it is a pattern that matches no file; give the path of a file"
    return "; give the path of a file"


def _opened(path: Path, log: str) -> BinaryIO:
    if path == STDIN:
        # None: the caller has closed it, as `<&-` does.
        if sys.stdin is None:
            raise SettingsError(f"standard input is closed, and --{log} names it; give it a file or a pipe")
        return sys.stdin.buffer
    try:
        return path.open("rb", BUFFER_BYTES)
    except OSError as error:
        raise _unreadable(path, log, error) from error


def _unreadable(path: Path, log: str, error: OSError) -> SettingsError:
    return SettingsError(f"{log} file {path} cannot be read: {error.strerror}; check its path and rights")


def _kept(stream: BinaryIO) -> BinaryIO:
    # Deleted by the system when the process ends.
    copy = tempfile.TemporaryFile(buffering=BUFFER_BYTES)  # noqa: SIM115  # open as long as the source
    shutil.copyfileobj(stream, copy)
    return copy  # type: ignore[return-value]  # it reads, writes and seeks; typeshed has no protocol for both
