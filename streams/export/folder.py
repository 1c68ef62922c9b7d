"""A folder of exported files, on a disk or in any store that fsspec reaches.

A file is written under a name that no reader of Parquet takes. The manifest, which is replaced as a whole, then says
what belongs to the export. Only after it the files get their own names, and those they replace are deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Final, TypeVar
from urllib.parse import urlsplit

import fsspec

from schemas.codec import decode, encode
from schemas.errors import SettingsError, Transient
from streams.export.manifest import Manifest

T = TypeVar("T")
# Spark, Hive and Arrow leave out names that begin with _; DuckDB and Polars those that do not end in .parquet.
MANIFEST: Final = "_manifest.json"
_STAGED: Final = "_staged"
_STAGED_SUFFIX: Final = ".unpublished"
_LOCAL: Final = ("file", "local", "")


class ExportFolder:
    """The files of one table below a folder or address. Credentials and endpoints come from the environment.

    Raises SettingsError when the address cannot be opened, Transient when the store does not do what it is asked.
    """

    def __init__(self, url: str, table: str) -> None:
        parts = urlsplit(url)
        if "://" in url and ("@" in parts.netloc or parts.query):
            raise SettingsError(
                "--to-dir holds credentials or parameters; give the location alone, and secrets in the environment "
                "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, …)"
            )
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        local = "://" not in url or parts.scheme in _LOCAL
        if local:
            options["auto_mkdir"] = True
        try:
            self._files, path = fsspec.core.url_to_fs(url, **options)
        except (ValueError, ImportError) as error:
            raise SettingsError(
                f"--to-dir {url} cannot be opened ({error}); give a folder, s3://bucket/prefix (with `pip install "
                "'clickfold[s3]'`) or another location that fsspec has a package for"
            ) from error
        self._root = f"{str(path).rstrip('/')}/{table}"
        self.name = f"{url.rstrip('/')}/{table}"

    def manifest(self) -> Manifest | None:
        """What the last export wrote; None before the first. Raises SettingsError for one that cannot be read."""
        try:
            data = self._call("read", lambda: bytes(self._files.cat_file(self._at(MANIFEST))), FileNotFoundError)
        except FileNotFoundError:
            return None
        try:
            return decode(data, Manifest)
        except ValueError as error:
            raise SettingsError(
                f"{self.name}/{MANIFEST} is no manifest of this version ({error}); export to another folder, or use "
                "the version that wrote it"
            ) from error

    def write_manifest(self, manifest: Manifest) -> None:
        """Replaces the manifest as a whole."""
        staged = f"{_STAGED}/{MANIFEST}"
        self._call("write", lambda: self._files.pipe_file(self._at(staged), encode(manifest)))
        self._move(staged, MANIFEST)

    @contextlib.contextmanager
    def staged(self, name: str) -> Iterator[IO[bytes]]:
        """A new file under its staged name; it is complete when the block has ended."""
        path = self._at(_staged(name))
        file: Any = self._call("write", lambda: self._files.open(path, "wb"))
        try:
            yield file
        except BaseException:
            # An upload in parts would become an object when it is closed.
            discard = getattr(file, "discard", None) or file.close
            with contextlib.suppress(Exception):
                discard()
            raise
        self._call("write", file.close)

    def staged_names(self) -> set[str]:
        """The files that are staged, by their own names."""
        root = self._at(_STAGED)
        try:
            paths = self._call("list", lambda: [str(path) for path in self._files.find(root)], FileNotFoundError)
        except FileNotFoundError:
            return set()
        names = (path.rpartition(f"/{_STAGED}/")[2] for path in paths)
        return {name.removesuffix(_STAGED_SUFFIX) for name in names if name.endswith(_STAGED_SUFFIX)}

    def publish(self, name: str) -> None:
        """Gives a staged file its own name."""
        self._move(_staged(name), name)

    def delete(self, name: str) -> None:
        """Deletes a file if there is one, and on a disk the folders that are empty then."""
        with contextlib.suppress(FileNotFoundError):
            self._call("delete", lambda: self._files.rm_file(self._at(name)), FileNotFoundError)
        self._prune(name)

    def clear_staged(self) -> None:
        """Deletes what an interrupted export has left."""
        with contextlib.suppress(FileNotFoundError):
            self._call("delete", lambda: self._files.rm(self._at(_STAGED), recursive=True), FileNotFoundError)

    def _move(self, name: str, to: str) -> None:
        def move() -> None:
            if "file" in self._protocols:
                # A rename replaces what is there in one step.
                self._files.makedirs(self._at(to).rpartition("/")[0], exist_ok=True)
            self._files.mv(self._at(name), self._at(to))

        self._call("write", move)

    def _prune(self, name: str) -> None:
        if "file" not in self._protocols:
            return
        folder = name
        while folder := folder.rpartition("/")[0]:
            try:
                self._files.rmdir(self._at(folder))
            except OSError:
                return  # it is not empty, or gone

    @property
    def _protocols(self) -> tuple[str, ...]:
        protocol = self._files.protocol
        return (protocol,) if isinstance(protocol, str) else tuple(protocol)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _call(self, what: str, call: Callable[[], T], *passed: type[OSError]) -> T:
        try:
            return call()
        except passed:
            raise
        except Exception as error:  # every store has its own kinds of errors, with no common base class
            why = str(error) or type(error).__name__
            raise Transient(f"cannot {what} at {self.name}: {why}; the former export is as it was") from error


def _staged(name: str) -> str:
    return f"{_STAGED}/{name}{_STAGED_SUFFIX}"
