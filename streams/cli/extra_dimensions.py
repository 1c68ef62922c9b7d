"""The TOML of `--extra-dimensions`: each dimension, the feature that it is, and since when it counts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from schemas.dimensions import ExtraDimension, checked_extra
from schemas.errors import SettingsError

_TABLE: Final = "dimensions"
_REMEDY: Final = (
    '[dimensions] and site = "features.site", or site = { from = "features.site", since = 2026-12-01T00:00:00Z }'
)


def read_extra_dimensions(path: Path | None) -> tuple[ExtraDimension, ...]:
    """The extra dimensions that a file declares; none without a file. Raises SettingsError that names the file."""
    if path is None:
        return ()
    try:
        return extra_dimensions(tomllib.loads(path.read_bytes().decode("utf-8-sig")))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; check its path and rights") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}; write {_REMEDY}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def extra_dimensions(document: Mapping[str, Any]) -> tuple[ExtraDimension, ...]:
    """The dimensions of a TOML document. Raises SettingsError without the name of the file."""
    for key in document:
        if key != _TABLE:
            raise SettingsError(f"{key[:80]!r} is no setting; write {_REMEDY}")
    declared = document.get(_TABLE)
    if not isinstance(declared, Mapping) or not declared:
        raise SettingsError(f"it declares no dimension; write {_REMEDY}")
    return checked_extra(list(_declared(declared)))


def _declared(table: Mapping[str, Any]) -> Iterator[ExtraDimension]:
    for name, rule in table.items():
        given = {"from": rule} if isinstance(rule, str) else rule
        if not isinstance(given, Mapping) or not isinstance(given.get("from"), str):
            raise SettingsError(f"{name[:80]} does not say where it is from; write {_REMEDY}")
        for key in given:
            if key not in {"from", "since"}:
                raise SettingsError(f"{name}.{key[:80]} is no setting; a dimension has `from` and `since`")
        yield ExtraDimension(name, given["from"], _since_ms(name, given["since"]) if "since" in given else 0)


def _since_ms(name: str, since: Any) -> int:
    if not isinstance(since, datetime) or since.tzinfo is None:
        shown = since.isoformat() if isinstance(since, datetime) else repr(since)[:80]
        raise SettingsError(f"{name}.since is {shown}; give a time with its zone, such as 2026-12-01T00:00:00Z")
    return round(since.timestamp() * 1_000)
