"""Compiles kernels when they are first needed, and keeps the machine code under a digest of all it was made of.

numba's own cache looks at the source of the one function. A kernel is also made of the functions and constants that it
imports: with numba's cache an edit there would leave the former machine code in use, and that decides about money.

`make setup` and the image compile all kernels ahead (`python -m streams.kernels`). Without that the first worker takes
about 20 s. A folder that cannot be written is only read from; without any folder each start compiles in memory.

numba takes a second to import, so a process that calls no kernel does not import it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

_HERE: Final = Path(__file__).parent
_PACKAGES: Final = _HERE.parent
# All that kernels are made of: their own two rooms, and `schemas`, the only one they may import.
_SOURCES: Final = ("streams/kernels/*.py", "online_models/mixture/*.py", "schemas/*.py")
# Written last, so that an interrupted compilation is not taken for a whole one.
_COMPLETE: Final = "complete"
_loading = RLock()


class Argument(NamedTuple):
    """The type of a kernel's argument: a 64-bit integer for no dimensions, else a contiguous array."""

    kind: Any
    dimensions: int
    written: bool = False


INT64: Final = Argument("i8", 0)


def read(kind: Any, dimensions: int = 1) -> Argument:
    """An array that the kernel only reads."""
    return Argument(kind, dimensions)


def written(kind: Any, dimensions: int = 1) -> Argument:
    """An array that the kernel writes to."""
    return Argument(kind, dimensions, written=True)


BYTES: Final = read("u1")


class Deferred:
    """A function that is compiled when it is first called, or when one that calls it is compiled."""

    def __init__(
        self,
        function: Callable[..., Any],
        compiled: Callable[[Callable[..., Any]], Any],
        arguments: tuple[Argument, ...] = (),
    ) -> None:
        self.name = function.__name__
        self.arguments = arguments
        self._function = function
        self._compiled = compiled
        self._made: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._made or self.load())(*arguments)

    def load(self) -> Any:
        """The compiled function. Those that it calls take the place of their deferred ones in its module."""
        with _loading:
            if self._made is None:
                names = self._function.__globals__
                for name in self._function.__code__.co_names:
                    if isinstance(names.get(name), Deferred):
                        names[name] = names[name].load()
                self._made = self._compiled(self._function)
        return self._made


KERNELS: Final[list[Deferred]] = []


def kernel(*arguments: Argument, floats: bool = False, allocates: bool = True) -> Callable[[F], F]:
    """A function for exactly these types of arguments. It runs without the interpreter's lock.

    With `floats` a division by zero is infinite or NaN instead of an error, so that loops of divisions are compiled to
    instructions that do several at once. One that allocates no array counts no references to those it is given: each
    count is an atomic operation, wherever an array is handed on.
    """

    def deferred(function: F) -> F:
        made = Deferred(function, lambda given: _compiled(given, arguments, floats, allocates), arguments)
        KERNELS.append(made)
        return cast(F, made)

    return deferred


def part(function: F) -> F:
    """A function for kernels only, compiled into each of them that calls it."""
    return cast(F, Deferred(function, lambda given: _numba().njit(nogil=True)(given)))


def inlined(function: F) -> F:
    """As `part`, copied to where it is called: for arrays, which cost two atomic operations to be handed over."""
    return cast(F, Deferred(function, lambda given: _numba().njit(inline="always")(given)))


def instruction(function: Callable[..., Any], *, uncompiled: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function for kernels only, given as the LLVM instructions it becomes; its first argument is numba's.

    `uncompiled` is what a kernel calls that runs without the compiler.
    """

    def made(given: Callable[..., Any]) -> Any:
        numba = _numba()
        return uncompiled if uncompiled and numba.config.DISABLE_JIT else numba.extending.intrinsic(given)

    return Deferred(function, made)


def load_kernels() -> None:
    """Loads or compiles every kernel of the modules that are imported."""
    for each in KERNELS:
        each.load()


@functools.cache
def _numba() -> Any:
    import numba

    # Machine code for any processor of the architecture: an image is built on one machine and runs on others.
    numba.config.CPU_NAME = "generic"
    numba.config.CPU_FEATURES = ""
    _import_without_blas()
    return numba


def _import_without_blas() -> None:
    """For products of matrices, which no kernel has, numba imports `scipy.linalg`: 0.13 s of CPU, 16 MB a process."""
    if "scipy.linalg" in sys.modules:
        return
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # makes its import fail, as if it were missing
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules["scipy.linalg"]


def _compiled(function: Callable[..., Any], arguments: tuple[Argument, ...], floats: bool, allocates: bool) -> Any:
    numba = _numba()
    types = numba.core.types

    def type_of(argument: Argument) -> Any:
        kind = numba.from_dtype(np.dtype(argument.kind))
        return (
            types.Array(kind, argument.dimensions, "C", readonly=not argument.written) if argument.dimensions else kind
        )

    folder = cache_folder()
    if folder is None or not any(folder.glob(f"*.{function.__name__}-*.nbc")):
        _say_once(folder)
    before = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Locator.__name__}"
    try:
        return numba.njit(
            tuple(map(type_of, arguments)),
            nogil=True,
            cache=folder is not None,
            error_model="numpy" if floats else "python",
            _nrt=allocates,
        )(function)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = before


class Locator:
    """Tells numba where the machine code of our kernels is. The folder's name says what it was made of."""

    def ensure_cache_path(self) -> None:
        """It was made when it was chosen."""

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return digest()

    def get_disambiguator(self) -> str:
        return ""

    @classmethod
    def from_function(cls, *_: Any) -> Locator:
        return cls()


@functools.cache
def digest() -> str:
    """Of all sources that kernels are made of, the programs that compile them, and how they do it."""
    import llvmlite

    numba = _numba()
    found = hashlib.sha256()
    made_by = (numba.__version__, llvmlite.__version__, np.__version__, sys.version, platform.machine())
    how = (numba.config.CPU_NAME, numba.config.CPU_FEATURES, int(numba.config.OPT), numba.config.BOUNDSCHECK)
    found.update(repr((made_by, how)).encode())
    for pattern in _SOURCES:
        for path in sorted(_PACKAGES.glob(pattern)):
            found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:24]


@functools.cache
def cache_folder() -> Path | None:
    """Beside the sources, or in the user's cache folder: the first that has everything, else the first writable one."""
    homes = [_HERE / "__pycache__" / "kernels"]
    with contextlib.suppress(RuntimeError):  # there may be no home folder
        homes.append(Path.home() / ".cache" / "clickfold" / "kernels")
    folders = [home / digest() for home in homes]
    for folder in folders:
        if (folder / _COMPLETE).exists():
            return folder
    return next(filter(_writable, folders), None)


def complete() -> None:
    """All kernels are compiled: says so in the folder, and removes what other versions left beside it."""
    folder = cache_folder()
    if folder is None or (folder / _COMPLETE).exists():
        return
    (folder / _COMPLETE).touch()
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


@functools.cache
def _say_once(folder: Path | None) -> None:
    """Says why the process waits."""
    kept = "the next start is fast" if folder is not None else "no folder to keep the result in is writable"
    sys.stderr.write(f"Compiling kernels, up to 50 s; {kept}. `python -m streams.kernels` does it ahead.\n")
