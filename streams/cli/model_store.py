"""Where `clickfold models` finds models: in `ads.models`, by name and version, or in a file that was exported."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, TopicPartition

from online_models.published import PublishedModel, PublishedModels, opened, unpacked
from online_models.publishing import packed
from schemas.codec import decode, encode
from schemas.errors import SettingsError
from schemas.frame import Frame
from schemas.models import ModelManifest
from schemas.outcomes import Outcome
from streams.cli.written_file import written_file
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.reads import log_bounds, stream_log
from streams.kafka.settings import reader_settings

# Offsets read from the end of the log. Some are markers of transactions, orphans or repeats, so one would not do.
_NEWEST_OUTCOMES: Final = 200
_READ_TIMEOUT_S: Final = 5.0
_REFERENCE: Final = re.compile(r"([A-Za-z0-9._-]{1,100})(?:/(\d{1,9}))?(?:@(\d{1,18}))?")
# A file: the length of the manifest, the manifest as JSON, and the model, compressed.
_FILE: Final = Frame(magic=b"clkmfile", format=(1).to_bytes(4, "little"))
_LENGTH: Final = struct.Struct("<I")


class Reference(NamedTuple):
    """What a person names: `ctr`, `ctr/1` for shard 1, `ctr@5` for a version, or `ctr/1@5`."""

    model: str
    shard: int
    version: int | None

    @classmethod
    def of(cls, text: str) -> Reference:
        """Raises SettingsError for a text that names no model."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise SettingsError(f"{text[:80]!r} names no model; write ctr, ctr@VERSION or ctr/SHARD@VERSION, or a file")
        return cls(found[1], int(found[2] or 0), int(found[3]) if found[3] else None)


def read_models(cluster: Cluster) -> tuple[PublishedModels, list[str]]:
    """All models of the topic, and a sentence for each that cannot be used.

    Raises SettingsError without a topic or a model, Transient without a broker.
    """
    Admin(cluster).check(("models", "model_metrics"), ("outcomes",))
    models = PublishedModels(kept=None)
    for record in stream_log(cluster, cluster.topic("models"), 0):
        models.take(record.key, record.value)
    said = models.update()
    if not any(True for _ in models.versions()) and not said:
        raise SettingsError("no model is published yet; start `clickfold worker learn`, or wait for its first version")
    return models, said


def named_model(text: str, cluster: Cluster | None, models: PublishedModels | None = None) -> PublishedModel:
    """The model that a text names: a file, or a version of the topic, by default the one in use.

    `models` are those of the topic, if they are read already. Raises SettingsError if there is none such.
    """
    if Path(text).is_file():
        return opened(*read_file(Path(text)))
    reference = Reference.of(text)
    if models is None:
        if cluster is None:
            raise SettingsError(f"{text!r} is no file, and no Kafka is named; give a file that was exported")
        models, _ = read_models(cluster)
    return find(models, reference)


def find(models: PublishedModels, reference: Reference) -> PublishedModel:
    """The version that is named, or the one in use. Raises SettingsError with those there are."""
    model, shard, version = reference
    if version is None and (model, shard) in models.current:
        return models.current[model, shard]
    whole = [each.version for each in models.versions() if (each.model, each.shard) == (model, shard)]
    if version is not None and version in whole:
        return models.open(model, shard, version)
    if not whole:
        there = sorted({f"{each.model}/{each.shard}" for each in models.versions()})
        raise SettingsError(f"model {model} shard {shard} is not published; there are {', '.join(there)}")
    raise SettingsError(
        f"version {version} of model {model} shard {shard} is not in the topic; it has {', '.join(map(str, whole))}"
    )


def write_file(path: Path, manifest: ModelManifest, data: bytes) -> None:
    """Writes a model to one file, which is complete or not there. Raises SettingsError."""
    text = encode(manifest)
    with written_file(path, "model") as file:
        file.write(_FILE.wrap(_LENGTH.pack(len(text)) + text + packed(data)))


def read_file(path: Path) -> tuple[ModelManifest, bytes]:
    """The manifest and the bytes of an exported model, checked against its digest. Raises a ClickfoldError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; check its path and rights") from error
    body = _FILE.unwrap(content, f"the model in {path}")
    (length,) = _LENGTH.unpack_from(body)
    manifest = decode(bytes(body[_LENGTH.size : _LENGTH.size + length]), ModelManifest)
    return manifest, unpacked(manifest, bytes(body[_LENGTH.size + length :]))


def newest_outcomes(cluster: Cluster, shard: int) -> list[Outcome]:
    """The last outcomes of the shard that have an impression, newest last. Reads only the end of the log."""
    topic = cluster.topic("outcomes")
    consumer = Consumer(reader_settings(cluster))
    try:
        low, high = log_bounds(consumer, topic, shard)
        consumer.assign([TopicPartition(topic, shard, max(low, high - _NEWEST_OUTCOMES))])
        newest, until_s, ended = list[Outcome](), time.monotonic() + _READ_TIMEOUT_S, high <= low
        while not ended and time.monotonic() < until_s:
            for message in consumer.consume(_NEWEST_OUTCOMES, 0.2):
                if message.error() is not None:
                    ended = True
                    continue
                outcome = decode(message.value() or b"", Outcome)
                if outcome.label is not None:
                    newest.append(outcome)
        return newest
    finally:
        consumer.close()


def republished(models: PublishedModels, manifest: ModelManifest, name: str) -> ModelManifest:
    """The manifest of a copy under this name, with a version above every one that there is of this shard."""
    highest = max(each.version for each in models.versions() if each.shard == manifest.shard)
    return msgspec.structs.replace(manifest, model=name, version=highest + 1, copy_of=manifest.version)
