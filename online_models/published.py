"""The models of `ads.models`: from its records, in any order, to the newest whole version of each model and shard.

    models = PublishedModels()
    for record in records:
        models.take(record.key, record.value)
    said = models.update()
    model = models.current["ctr", 0]
    model.predict(model.rows(impressions))

Nothing here needs a broker. A version is used once all its parts and its manifest are there; until then, and when it
cannot be used, the former one stays. Each reason is one sentence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import cramjam
import msgspec
import numpy as np

from online_models.features import Shown
from online_models.former import FormerModel
from online_models.kinds import new_model
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import HASH_VERSION, Rows
from online_models.mixture.settings import MixtureSettings
from online_models.publishing import PART, PART_HEAD, model_digest
from schemas.codec import decode
from schemas.errors import BrokenInvariant, ClickfoldError, DamagedState, StateMismatch
from schemas.models import MODEL_FORMAT, ModelChoice, ModelManifest, ModelVersion

# Whole versions of a model and shard that are kept in memory: the newest, and one for when it cannot be used.
_KEPT: Final = 2
# Of one model. The largest that settings allow has 4 GB; this is more than any that was seen, and fits a machine.
MOST_BYTES: Final = 2 << 30
_MOST_PARTS: Final = 4_096

Key = tuple[str, int]


class PublishedModel(Protocol):
    """A version that can predict. It never changes, and several threads may use it."""

    @property
    def manifest(self) -> ModelManifest: ...

    def rows(self, shown: Iterable[Shown]) -> Any:
        """What `predict` takes, of impressions or candidates."""
        ...

    def predict(self, rows: Any) -> np.ndarray:
        """The click probability of each row, strictly between 0 and 1: to the bit what the learner would predict."""
        ...


@dataclass(frozen=True, slots=True)
class WholeModel:
    """A version of this format, with all its state."""

    manifest: ModelManifest
    model: RowModel

    def rows(self, shown: Iterable[Shown]) -> Rows:
        """See `PublishedModel`."""
        return self.model.rows(shown)

    def predict(self, rows: Rows) -> np.ndarray:
        """See `PublishedModel`."""
        return self.model.predict(rows)


@dataclass(slots=True)
class _Pieces:
    """What was read of one version."""

    manifest: ModelManifest | None = None
    former: ModelVersion | None = None
    parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        if self.former is not None:
            return True
        return self.manifest is not None and all(number in self.parts for number in range(self.manifest.parts))


class PublishedModels:
    """Reads records of `ads.models`. `current` has the version in use of each model and shard.

    Of `models` only; None: of all. `kept` is how many whole versions of each model stay in memory, as they were read;
    None: all.
    """

    def __init__(self, models: Collection[str] | None = None, *, kept: int | None = _KEPT) -> None:
        self._models = models
        self.current: dict[Key, PublishedModel] = {}
        self._kept = kept
        self._pieces: dict[Key, dict[int, _Pieces]] = {}
        self._choices: dict[Key, ModelChoice] = {}
        # Versions that cannot be used, so that each is said once.
        self._refused: set[tuple[str, int, int]] = set()
        self._said: list[str] = []

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """Takes one record. A deletion changes nothing: what replaced a version has a higher number."""
        if not key or value is None:
            return
        try:
            model, shard, *rest = key.decode().split("/")
            found = self._pieces.setdefault((model, int(shard)), {})
            if value.startswith(PART.magic):
                self._take_part(found, value, f"a part of model {model} shard {shard}")
            elif not rest:
                former = decode(value, ModelVersion)
                found.setdefault(former.version, _Pieces()).former = former
            else:
                self._take_json((model, int(shard)), found, value)
        except (ValueError, RecursionError, DamagedState, StateMismatch) as error:
            self._said.append(f"record {key[:80]!r} of the models is passed over: {error}")

    def _take_part(self, found: dict[int, _Pieces], value: bytes, what: str) -> None:
        body = PART.unwrap(value, what)
        version, number, parts = PART_HEAD.unpack_from(body)
        if number < parts <= _MOST_PARTS:
            found.setdefault(version, _Pieces()).parts[number] = bytes(body[PART_HEAD.size :])

    def _take_json(self, key: Key, found: dict[int, _Pieces], value: bytes) -> None:
        form = decode(value, _Form).format
        if form > MODEL_FORMAT:
            raise StateMismatch(
                f"model {key[0]} shard {key[1]} is of format {form}, this program reads up to {MODEL_FORMAT}; "
                "update this program"
            )
        read = msgspec.json.decode(value, type=ModelManifest | ModelChoice)
        if isinstance(read, ModelChoice):
            if key not in self._choices or read.number > self._choices[key].number:
                self._choices[key] = read
        elif not (0 < read.parts <= _MOST_PARTS and 0 < read.bytes <= MOST_BYTES):
            raise StateMismatch(f"model {named(read)} has {read.parts} parts and {read.bytes} bytes, above the bounds")
        elif (now := self.current.get(key)) is not None and read.version < now.manifest.version:
            self._refuse_return(now.manifest, read.model, read.version)
        else:
            found.setdefault(read.version, _Pieces()).manifest = read

    def update(self) -> list[str]:
        """Brings `current` up to date with the records taken; returns a sentence for each that cannot be used."""
        for key in sorted({*self._pieces, *self._choices}):
            if self._models is None or key[0] in self._models:
                self._update(key)
        for found in self._pieces.values():
            self._forget(found)
        said, self._said = self._said, []
        return said

    def _update(self, key: Key) -> None:
        model, shard = key
        choice, now = self._choices.get(key), self.current.get(key)
        follow = choice.follow if choice is not None else model
        for version in sorted(self._whole(self._pieces.get((follow, shard), {})), reverse=True):
            if (follow, shard, version) in self._refused:
                continue
            if now is not None and (now.manifest.model, now.manifest.version) == (follow, version):
                return
            if now is not None and version < now.manifest.version:
                self._refuse_return(now.manifest, follow, version)
                return
            try:
                self.current[key] = self.open(follow, shard, version)
            except ClickfoldError as error:
                self._refused.add((follow, shard, version))
                self._said.append(str(error))
            else:
                return

    def _refuse_return(self, now: ModelManifest, model: str, version: int) -> None:
        if (f"{model} after {named(now)}", now.shard, version) not in self._refused:
            self._refused.add((f"{model} after {named(now)}", now.shard, version))
            self._said.append(
                f"model {model} shard {now.shard} version {version} is refused, because version {now.version} of "
                f"{now.model} is in use and versions never go back; wait for a higher one"
            )

    @staticmethod
    def _whole(found: Mapping[int, _Pieces]) -> list[int]:
        return [version for version, pieces in found.items() if pieces.whole]

    def versions(self) -> Iterator[ModelManifest]:
        """The manifests of all whole versions in memory, by model, shard and version."""
        for _, found in sorted(self._pieces.items()):
            for _, pieces in sorted(found.items()):
                if pieces.former is not None:
                    yield FormerModel(pieces.former).manifest
                elif pieces.manifest is not None and pieces.whole:
                    yield pieces.manifest

    def choice(self, model: str, shard: int) -> ModelChoice | None:
        """What was chosen last for this model."""
        return self._choices.get((model, shard))

    def data(self, model: str, shard: int, version: int) -> tuple[ModelManifest, bytes]:
        """Manifest and bytes of a whole version in memory, checked against its digest."""
        pieces = self._pieces[model, shard][version]
        manifest = pieces.manifest
        if manifest is None:
            raise StateMismatch(f"version {version} of model {model} was published by 0.1, which kept no whole models")
        return manifest, unpacked(manifest, b"".join(pieces.parts[number] for number in range(manifest.parts)))

    def open(self, model: str, shard: int, version: int) -> PublishedModel:
        """A whole version in memory. Raises a ClickfoldError that says why it cannot be used."""
        pieces = self._pieces[model, shard][version]
        if pieces.former is not None:
            return FormerModel(pieces.former)
        return opened(*self.data(model, shard, version))

    def _forget(self, found: dict[int, _Pieces]) -> None:
        """Drops versions below the newest whole ones that are kept, and pieces of some that never become whole."""
        whole = sorted(self._whole(found))
        if self._kept is not None and len(whole) > self._kept:
            for version in [version for version in found if version < whole[-self._kept]]:
                del found[version]


class _Form(msgspec.Struct):
    """What is read first of a record: whether this program may read the rest."""

    format: int


def named(manifest: ModelManifest) -> str:
    """A version in words."""
    return f"{manifest.model} shard {manifest.shard} version {manifest.version}"


def unpacked(manifest: ModelManifest, packed: bytes) -> bytes:
    """The bytes of a model. Raises BrokenInvariant when they are not those of the manifest."""
    buffer = bytearray(manifest.bytes)
    try:
        length = cramjam.zstd.decompress_into(packed, buffer)
    except cramjam.DecompressionError as error:
        raise BrokenInvariant(
            f"model {named(manifest)} cannot be decompressed: {error}; use the next version"
        ) from error
    data = bytes(buffer[:length])
    if model_digest(data) != manifest.digest:
        raise BrokenInvariant(f"model {named(manifest)} does not match digest {manifest.digest}; use the next version")
    return data


def opened(manifest: ModelManifest, data: bytes) -> WholeModel:
    """The model of these bytes, ready to predict. Raises a ClickfoldError that says why it cannot be used."""
    if manifest.hash_version != HASH_VERSION:
        raise StateMismatch(
            f"model {named(manifest)} hashes impressions by version {manifest.hash_version}, this program by "
            f"{HASH_VERSION}; use the program that published it"
        )
    try:
        model = new_model(manifest.kind, msgspec.convert(manifest.settings, MixtureSettings))
    except msgspec.ValidationError as error:
        raise StateMismatch(f"model {named(manifest)} has settings this program does not know: {error}") from error
    model.restore(data)
    return WholeModel(manifest, model)
