"""Standard output and error as a shell may give them: closed, a pipe whose reader has ended, or on a full disk."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def standard_streams() -> Iterator[None]:
    """Ends the process with a code and a sentence, without a traceback, when its output cannot be written.

    All output is written when this ends, so a code 0 means that it was. Standard error that the caller has closed is
    silent; standard output that is closed is an error at the first text for it.
    """
    _open_closed()
    former = sys.stdout, sys.stderr
    output, error = map(_Watched, former)
    sys.stdout, sys.stderr = output.stream, error.stream
    try:
        yield
    except (SystemExit, OSError):
        for watched, name in ((output, "standard output"), (error, "standard error")):
            fault = watched.fault()
            if fault is not None:
                _leave(name, fault, error.stream)
        raise
    finally:
        sys.stdout, sys.stderr = former


class _Watched:
    """A stream that writes to the same file as another one, and keeps the first error of it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._raw: _Raw | None = None
        if not isinstance(stream, io.TextIOWrapper):
            return
        try:
            self._raw = _Raw(stream.fileno(), "w", closefd=False)
        except OSError:  # it has no file, as in tests
            return
        stream.flush()
        self.stream = io.TextIOWrapper(
            # `python -u` has no buffer, so that each text is written at once.
            cast(io.BufferedWriter, self._raw) if stream.write_through else io.BufferedWriter(self._raw),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )

    def fault(self) -> OSError | None:
        """Why something could not be written. What is left is dropped, so that Python does not try again."""
        try:
            self.stream.flush()
        except OSError as error:
            fault = error
        else:
            if self._raw is None or self._raw.fault is None:
                return None
            fault = self._raw.fault
        if self._raw is not None:
            _take(self._raw.fileno(), os.O_WRONLY)
        return fault


class _Raw(io.FileIO):
    """An open file that keeps its first error of writing. Buffers above it may forget what they could not write."""

    fault: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes all of it. `write` of the system may write a part, which Python tells only to a buffer, so that
        `python -u` would lose the rest of a large text."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.fault = self.fault or error
            raise
        return size


def _open_closed() -> None:
    """Opens the streams that are closed. Otherwise the next file that is opened would have their numbers."""
    if sys.stdin is None:
        _take(0, os.O_WRONLY)
    if sys.stdout is None:
        # Writing to a file that is open for reading is the same error as writing to a closed one.
        _take(1, os.O_RDONLY)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        _take(2, os.O_WRONLY)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _take(number: int, flags: int) -> None:
    """Makes this the number of an open file that holds nothing."""
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _leave(name: str, fault: OSError, stderr: TextIO) -> NoReturn:
    """Ends the process, after a sentence where somebody can read one."""
    if isinstance(fault, BrokenPipeError):
        sys.exit(141)  # what a shell reports for a program that the signal SIGPIPE has ended
    if name == "standard output":
        why = "is closed" if fault.errno == errno.EBADF else f"cannot be written: {fault.strerror}"
        print(f"clickfold: {name} {why}; redirect it to another file", file=stderr, flush=True)
    sys.exit(2)
