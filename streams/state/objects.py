"""Objects in a folder, in S3 or in any store that fsspec reaches, with one kind of error for all of them."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
import tenacity

from schemas.errors import SettingsError, Transient

T = TypeVar("T")
_LOCAL = ("file", "local")
# A failure that passes within seconds is not worth a warning. The libraries below try again too, some for ten seconds.
_TRIES = tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(5.0)
_WAITS = tenacity.wait_exponential(multiplier=0.2, max=2.0)


class ObjectStore:
    """Whole objects below a URL, as `streams.state.layout.Objects`.

    Credentials and endpoints come from the environment (`AWS_*`, `FSSPEC_*`), as for every program that uses fsspec.
    Raises SettingsError when the URL cannot be opened. No error text shows a URL that may contain a password.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query:
            raise SettingsError(
                "--snapshots holds credentials or parameters; give the location alone, and secrets in the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, …)"
            )
        # Caches are off: a cached listing would hide what another worker wrote, and a cached client would keep settings
        # of an environment that has changed.
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if (parts.scheme or "file") in _LOCAL:
            options["auto_mkdir"] = True
        try:
            self._files, self._path = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError) as error:
            raise SettingsError(
                f"--snapshots {url} cannot be opened ({error}); give file:///folder, s3://bucket/prefix (with "
                "`pip install 'clickfold[s3]'`) or another location that fsspec has a package for"
            ) from error
        self._url = url
        self._stop = threading.Event()

    def folder(self, *folders: str, stop: threading.Event) -> ObjectStore:
        """The store of a folder below this one. Its calls are not tried again once `stop` is set."""
        below = copy.copy(self)
        below._path = "/".join((self._path.rstrip("/"), *folders))
        below._stop = stop
        return below

    def check(self) -> None:
        """Writes and deletes an object. Raises SettingsError if that is refused, Transient if there is no answer."""
        try:
            self.write(".writable", b"")
            self.delete(".writable")
        except Transient as error:
            if not isinstance(error.__cause__, FileNotFoundError | PermissionError | NotADirectoryError):
                raise
            raise SettingsError(
                f"--snapshots {self._url} cannot be written ({error.__cause__}); make the bucket or folder, or "
                "correct its permissions"
            ) from error

    def write(self, key: str, data: bytes) -> None:
        """Writes the whole object."""
        self._call("write", lambda: self._files.pipe_file(f"{self._path}/{key}", data))

    def read(self, key: str) -> bytes:
        """Reads the whole object. Raises FileNotFoundError."""
        return self._call("read", lambda: bytes(self._files.cat_file(f"{self._path}/{key}")), FileNotFoundError)

    def delete(self, key: str) -> None:
        """Deletes an object if there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._call("delete", lambda: self._files.rm_file(f"{self._path}/{key}"), FileNotFoundError)

    def names(self) -> list[str]:
        """Keys of all objects, sorted."""
        try:
            paths = self._call("list", lambda: [str(path) for path in self._files.find(self._path)], FileNotFoundError)
        except FileNotFoundError:
            return []
        return sorted(path.rpartition("/")[2] for path in paths)

    def _call(self, what: str, call: Callable[[], T], *passed: type[OSError]) -> T:
        tries = tenacity.Retrying(
            stop=_TRIES | tenacity.stop_when_event_set(self._stop),
            wait=_WAITS,
            sleep=tenacity.sleep_using_event(self._stop),
            retry=tenacity.retry_if_exception_type(Transient),
            reraise=True,
        )
        result: T = tries(self._once, what, call, passed)
        return result

    def _once(self, what: str, call: Callable[[], T], passed: tuple[type[OSError], ...]) -> T:
        try:
            return call()
        except passed:
            raise
        except Exception as error:  # every store has its own kinds of errors, with no common base class
            why = str(error) or type(error).__name__
            raise Transient(f"cannot {what} shared snapshots at {self._url}: {why}") from error
