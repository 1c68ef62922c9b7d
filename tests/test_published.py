"""Published models: read in any order, whole or not at all, refused in a sentence, and exact."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from random import Random

import msgspec
import numpy as np
import pytest

from online_models import publishing
from online_models.former import weights_digest
from online_models.kinds import new_model
from online_models.mixture.row_model import RowModel
from online_models.mixture.settings import MixtureSettings
from online_models.published import PublishedModels
from online_models.publishing import choice_record, place_of
from schemas.codec import decode, encode
from schemas.models import MODEL_FORMAT, ModelChoice, ModelManifest, ModelVersion
from schemas.records import Out
from schemas.topics import DAY_MS
from tests.models.clicks import examples, rows_of
from tests.models.published import SMALL, learned, manifest_of, records_of


@functools.cache
def model() -> RowModel:
    return learned(600)


@functools.cache
def later_model() -> RowModel:
    return learned(900)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "PART_BYTES", 10_000)


def read(models: PublishedModels, records: Iterable[Out]) -> list[str]:
    for record in records:
        models.take(record.key, record.value)
    return models.update()


def version(models: PublishedModels, name: str = "ctr") -> int | None:
    found = models.current.get((name, 0))
    return None if found is None else found.manifest.version


def choice(number: int, follow: str) -> Out:
    return choice_record(ModelChoice(format=MODEL_FORMAT, model="ctr", shard=0, number=number, follow=follow))


@pytest.mark.parametrize("kind", ["mixture", "ftrl"])
def test_a_published_model_predicts_to_the_bit_what_the_learner_would_and_changes_nothing(kind: str) -> None:
    learner = learned(2_300, kind=kind)
    models = PublishedModels()
    assert read(models, records_of(learner, 7)) == []
    served = models.current["ctr", 0]
    further = examples(2_400)[2_300:]
    before = learner.digest()
    ours = served.predict(served.rows(further))
    again = served.predict(served.rows(further))
    assert learner.digest() == before
    assert np.array_equal(ours, again)
    # One by one, as the learner learns each that it has predicted.
    theirs = new_model(kind, SMALL)
    theirs.restore(learner.snapshot())
    assert ours[0] == theirs.run(rows_of(further[:1], theirs.known))[0]
    assert np.array_equal(ours, learner.predict(rows_of(further, learner.known.copy())))
    assert learner.digest() == before


def test_a_model_of_many_parts_is_read_in_any_order() -> None:
    records = [*records_of(model(), 5, "even"), *records_of(later_model(), 9, "odd")]
    assert len(records) > 8
    for seed in range(10):
        models = PublishedModels()
        Random(seed).shuffle(records)
        assert read(models, records) == []
        assert version(models) == 9


def test_every_record_is_below_what_the_broker_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    data = np.random.default_rng(1).bytes(3_000_000)
    records = publishing.model_records(manifest_of(model(), 1), data, "even")
    assert [len(record.value or b"") < 1_000_000 for record in records] == [True] * 5
    assert decode(records[-1].value or b"", ModelManifest).parts == 4


def test_of_a_version_without_one_of_its_records_nothing_is_used() -> None:
    later = records_of(later_model(), 9, "odd")
    for missing in range(len(later)):
        models = PublishedModels()
        read(models, records_of(model(), 5))
        assert read(models, [record for number, record in enumerate(later) if number != missing]) == []
        assert version(models) == 5
        # The missing record may come late.
        read(models, [later[missing]])
        assert version(models) == 9


def test_parts_of_another_version_under_the_same_keys_are_never_mixed_in() -> None:
    former, later = records_of(model(), 5), records_of(learned(30), 9)
    assert len(later) < len(former)
    # As after compaction: the newer version, and the last parts of the longer, former one.
    left = {record.key: record for record in [*former, *later]}
    models = PublishedModels()
    assert read(models, left.values()) == []
    assert version(models) == 9


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hash_version": 2}, "hashes impressions by version 2, this program by 1"),
        ({"kind": "forest"}, "kind 'forest' is not known"),
        ({"settings": {"slot_bits": 99}}, "settings this program does not know|slot_bits is 99"),
        ({"settings": {"slot_bits": 11, "pair_bits": 12}}, "give the former|has other arrays"),
    ],
)
def test_a_version_that_cannot_be_used_is_refused_in_a_sentence_and_the_former_stays(
    changes: dict[str, object], sentence: str
) -> None:
    models = PublishedModels()
    read(models, records_of(model(), 5))
    (said,) = read(models, records_of(later_model(), 9, "odd", **changes))
    assert re.search(sentence, said), said
    assert version(models) == 5
    assert models.update() == [], "each is said once"
    # A reader that starts later finds the former one too, because it is in another place.
    assert version_after_restart([*records_of(model(), 5), *records_of(later_model(), 9, "odd", **changes)]) == 5
    read(models, records_of(later_model(), 11))
    assert version(models) == 11


def version_after_restart(records: Iterable[Out]) -> int | None:
    models = PublishedModels()
    read(models, records)
    return version(models)


def test_a_newer_format_is_refused_with_both_numbers() -> None:
    models = PublishedModels()
    read(models, records_of(model(), 5))
    (said,) = read(models, records_of(later_model(), 9, "odd", format=3))
    assert "model ctr shard 0 is of format 3, this program reads up to 2" in said
    assert version(models) == 5


def test_a_model_that_misses_its_digest_is_refused() -> None:
    records = records_of(later_model(), 9, "odd")
    manifest = msgspec.structs.replace(decode(records[-1].value or b"", ModelManifest), digest="0" * 32)
    models = PublishedModels()
    read(models, records_of(model(), 5))
    (said,) = read(models, [*records[:-1], Out("models", records[-1].key, encode(manifest))])
    assert "does not match digest 000" in said
    assert version(models) == 5


def test_a_version_that_goes_back_is_refused() -> None:
    models = PublishedModels()
    read(models, records_of(later_model(), 9))
    (said,) = read(models, records_of(model(), 8, "odd"))
    assert "version 8 is refused, because version 9 of ctr is in use and versions never go back" in said
    assert version(models) == 9


def test_a_choice_follows_another_model_until_the_next_choice() -> None:
    models = PublishedModels({"ctr"})
    copy = records_of(model(), 10, model="ctr.rollback", copy_of=5)
    read(models, [*records_of(later_model(), 9), *copy, choice(1, "ctr.rollback")])
    assert version(models) == 10
    read(models, records_of(later_model(), 12, "odd"))
    assert version(models) == 10, "what the learner publishes waits"
    read(models, [choice(2, "ctr")])
    assert version(models) == 12
    assert read(models, [choice(1, "ctr.rollback")]) == [], "an older choice changes nothing"
    assert version(models) == 12
    (said,) = read(models, [choice(3, "ctr.rollback")])
    assert "model ctr.rollback shard 0 version 10 is refused, because version 12 of ctr is in use" in said
    assert version(models) == 12


def test_records_that_are_no_model_are_passed_over_in_a_sentence() -> None:
    models = PublishedModels()
    values = [b"{", b"clkmpart", b'{"format":2}', b'{"record":"manifest"}', b"\xff"]
    said = read(models, [Out("models", b"ctr/0/even", value) for value in values])
    assert len(said) == len(values)
    assert read(models, [Out("models", b"ctr", b"{}"), Out("models", b"ctr/x/even", b"{}")]) != []
    assert read(models, [Out("models", None, b"{}"), Out("models", b"ctr/0", None)]) == []
    assert models.current == {}


def test_a_model_above_the_bounds_takes_no_memory() -> None:
    records = records_of(model(), 5)
    for changed in ({"bytes": 3 << 30}, {"parts": 5_000}):
        models = PublishedModels()
        manifest = msgspec.structs.replace(decode(records[-1].value or b"", ModelManifest), **changed)
        (said,) = read(models, [*records[:-1], Out("models", records[-1].key, encode(manifest))])
        assert "above the bounds" in said


def test_weights_of_the_version_before_are_still_read() -> None:
    weights = {str(1 << 20): -2.0}
    former = ModelVersion("ctr", 0, 5, 5, 0, "2", 20, weights_digest(weights), weights)
    models = PublishedModels()
    assert read(models, [Out("models", b"ctr/0", encode(former))]) == []
    served = models.current["ctr", 0]
    assert served.predict(served.rows(examples(1)))[0] == pytest.approx(0.1192, abs=1e-4)
    read(models, records_of(model(), 6))
    assert version(models) == 6
    damaged = msgspec.structs.replace(former, version=7, digest="0")
    (said,) = read(models, [Out("models", b"ctr/0", encode(damaged))])
    assert "do not match digest" in said


def test_memory_holds_two_whole_versions() -> None:
    models = PublishedModels()
    for number in range(5):
        read(models, records_of(model(), number, "odd" if number % 2 else "even"))
    assert [each.version for each in models.versions()] == [3, 4]


def test_the_topic_keeps_the_last_two_versions_and_the_first_of_seven_days() -> None:
    left: dict[bytes | None, Out] = {}
    before_ms = 0
    for number in range(40):
        event_ms = number * DAY_MS // 4
        place = place_of(number, event_ms=event_ms, before_ms=before_ms)
        left |= {record.key: record for record in records_of(model(), number, place, event_ms=event_ms)}
        before_ms = event_ms
    models = PublishedModels(kept=None)
    read(models, left.values())
    assert [each.version for each in models.versions()] == [12, 16, 20, 24, 28, 32, 36, 38, 39]


def test_settings_of_a_published_model_are_its_own() -> None:
    own = new_model("mixture", MixtureSettings(slot_bits=8, pair_bits=8, leave_out=("features.site",), kept=3))
    own.run(rows_of(examples(50), own.known))
    models = PublishedModels()
    read(models, records_of(own, 1))
    served = models.current["ctr", 0]
    one = examples(1)[0]
    other = msgspec.structs.replace(one, features={**(one.features or {}), "site": "elsewhere"})
    assert served.predict(served.rows([one])) == served.predict(served.rows([other]))
