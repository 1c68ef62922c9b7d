"""Addresses of files elsewhere, such as s3://bucket/key or https://host/file, opened by fsspec."""

from __future__ import annotations

import io
import re
from pathlib import PosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit

from schemas.errors import SettingsError
from streams.formats.damage import Damaged
from streams.formats.packed import BUFFER_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+://")
_WEB: Final = ("http", "https")
_BLOCK_BYTES: Final = 1 << 23
_PACKAGES: Final = {"s3": "pip install 'clickfold[s3]'", "gs": "pip install gcsfs", "gcs": "pip install gcsfs"}


class Address(PosixPath):
    """The address of a file elsewhere, as it was given: a path whose text keeps all of its slashes."""

    _text: str

    def __new__(cls, text: str) -> Address:
        self: Address = super().__new__(cls, text)
        self._text = text
        return self

    def __str__(self) -> str:
        return self._text


def address(text: str) -> Address | None:
    """The address that a text is; None for the path of a file."""
    return Address(text) if _SCHEME.match(text) else None


def opened(where: Address, subject: str) -> BinaryIO:
    """The bytes at an address. Raises SettingsError, which shows no password."""
    import fsspec

    parts = urlsplit(str(where))
    if "@" in parts.netloc:
        raise SettingsError(f"the address of {subject} holds credentials; give them in the environment")
    try:
        file: Any = fsspec.open(str(where), "rb", block_size=_BLOCK_BYTES).open()
        seeks = parts.scheme not in _WEB or bool(file.details.get("partial"))
        if not seeks:  # a server without range requests: what it sends is a stream
            file = fsspec.open(str(where), "rb", block_size=0).open()
    except ImportError as error:
        raise SettingsError(
            f"{subject} needs a package for {parts.scheme}://: `{_PACKAGES.get(parts.scheme, 'pip install it')}`"
        ) from error
    except Exception as error:  # every store has its own kinds of errors, with no common base class
        raise SettingsError(
            f"{subject} cannot be opened: {str(error) or type(error).__name__}; check its address and your rights"
        ) from error
    return io.BufferedReader(_Remote(file, seeks=seeks), BUFFER_BYTES)


class _Remote(io.RawIOBase):
    """The bytes of a file elsewhere. Reading raises Damaged when the connection ends."""

    def __init__(self, file: Any, *, seeks: bool) -> None:
        self._file = file
        self._seeks = seeks

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seeks

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        try:
            data = self._file.read(len(view))
        except Exception as error:  # as in `opened`
            raise Damaged(str(error) or type(error).__name__) from error
        view[: len(data)] = data
        return len(data)
