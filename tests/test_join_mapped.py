"""A join that reads inputs through a mapping decides as one that is given the events, whatever befalls it."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from schemas.codec import decode
from schemas.errors import SettingsError, StateMismatch
from schemas.records import Out, Record, Records
from schemas.rejects import Reason, Rejected
from streams.join.fold import JoinFold
from streams.join.identity import JoinIdentity
from streams.kafka.cluster import Cluster
from streams.verify.mapped import mapped_records
from streams.verify.oracle import Unmapped
from streams.worker.input_maps import input_maps
from tests.effort import tries
from tests.factories import T0, click_json, impression_json
from tests.simulation.disk import SimulatedDisk
from tests.simulation.mapped import MAPPING, run
from tests.simulation.simulate import Summary, run_some
from tests.simulation.world import BOUNDS

SEEDS = tries(100)
MAPS = input_maps(MAPPING, "m.toml")


@pytest.fixture(scope="module")
def summary() -> Summary:
    return run_some(0, SEEDS, run)


def test_whatever_crashes_a_mapped_join_commits_the_batch_truth(summary: Summary) -> None:
    assert summary.seeds == SEEDS
    assert not summary.failures, "\n".join(f"seed {seed}: {text}" for seed, text in sorted(summary.failures.items()))


# ---- single records -------------------------------------------------------------------------------------------------


def shown(name: str, at_ms: int = T0, **more: object) -> bytes:
    return orjson.dumps({"req": name, "at": at_ms * 1_000, "ad": {"campaign": "c", "cost": "0.000005"}, **more})


def clicked(name: str, at_ms: int = T0) -> bytes:
    return orjson.dumps({"req": name, "at": at_ms * 1_000, "click": f"k-{name}"})


def records(log: str, *given: tuple[bytes | None, bytes | None], start: int = 0) -> Records:
    """A key and a value each."""
    offsets = list(range(start, start + len(given)))
    return Records(log, 0, offsets, [-1] * len(given), [key for key, _ in given], [value for _, value in given])


def fold(*batches: Records, maps: object = MAPS) -> tuple[JoinFold, list[Out]]:
    made = JoinFold(BOUNDS, SimulatedDisk(), maps=maps)  # type: ignore[arg-type]  # InputMaps
    made.begin(None, offsets={"impressions": 0, "clicks": 0}, epoch=1)
    return made, [out for batch in batches for out in made.step(batch)]


def letters(outs: list[Out]) -> list[Rejected]:
    return [decode(out.value or b"", Rejected) for out in outs if out.topic == "rejects"]


def test_mapped_records_are_joined_as_what_the_mapping_makes_of_them() -> None:
    direct = fold(records("impressions", (b"a", shown("a"))), records("clicks", (b"a", clicked("a", T0 + 5))))
    before = fold(
        records("impressions", (b"a", impression_json("a"))),
        records("clicks", (b"a", click_json("k-a", "a", T0 + 5))),
        maps=input_maps("", ""),
    )
    assert direct[1] == before[1]
    assert direct[0].ledger().billable == 1


def test_what_a_rule_refuses_is_a_dead_letter_of_the_value_that_kafka_has() -> None:
    wrong = shown("a", at_ms=T0, at="yesterday")
    _, outs = fold(records("impressions", (b"b", shown("b")), (b"a", wrong), (b"c", b"{"), (None, None)))
    found = letters(outs)
    assert [(each.offset, each.reason) for each in found] == [
        (1, Reason.MAPPING),
        (2, Reason.UNDECODABLE),
        (3, Reason.TOMBSTONE),
    ]
    assert found[0].prefix == wrong
    assert found[0].detail.startswith("m.toml line 4, ts: ")


def test_another_key_than_the_id_that_the_mapping_makes_is_refused_with_the_remedy() -> None:
    _, outs = fold(records("clicks", (b"other", clicked("a")), (b"b", clicked("b"))))
    (letter,) = letters(outs)
    assert (letter.offset, letter.reason) == (0, Reason.KEY)
    assert letter.detail.endswith("may not meet in one partition; `clickfold worker ingest` reads topics with any keys")
    # An input without a mapping has no such remedy.
    _, plain = fold(records("clicks", (b"other", click_json("k", "a"))), maps=input_maps("", ""))
    assert letters(plain)[0].detail.endswith("may not meet in one partition")


def test_a_record_of_clickfolds_own_form_is_taken_as_it_is() -> None:
    made, outs = fold(
        records("impressions", (b"a", impression_json("a")), (b"b", shown("b"))),
        records("clicks", (b"a", click_json("k", "a"))),
    )
    assert letters(outs) == []
    assert (made.ledger().impressions.accepted, made.ledger().billable) == (2, 1)


def test_an_input_without_a_table_is_read_as_it_is() -> None:
    maps = input_maps(MAPPING.partition("[clicks]")[0], "m.toml")
    made, outs = fold(
        records("impressions", (b"a", shown("a"))), records("clicks", (b"a", click_json("k", "a"))), maps=maps
    )
    assert (letters(outs), made.ledger().billable) == ([], 1)


def test_another_mapping_is_another_run() -> None:
    made, _ = fold(records("impressions", (b"a", shown("a"))))
    for text in (MAPPING.replace("ad.cost", "ad.price"), ""):
        other = JoinFold(BOUNDS, SimulatedDisk(), maps=input_maps(text, "m.toml"))
        with pytest.raises(StateMismatch, match="input map or topics differ"):
            other.begin(made.mark(), offsets={}, epoch=2)
    same = JoinFold(BOUNDS, SimulatedDisk(), maps=input_maps(MAPPING + "# a comment", "other.toml"))
    same.begin(made.mark(), offsets={}, epoch=2)


def test_the_mapping_is_a_part_of_the_identity_of_a_join_which_is_as_before_without_one() -> None:
    topics = ("id", "2", "1")
    with_maps = [JoinIdentity(BOUNDS, ("device",), (), topics, digest) for digest in ("", "one", "two")]
    assert len({each.digest for each in with_maps}) == 3
    # Versions without mapped inputs gave it this digest, and what they committed goes on.
    assert with_maps[0].digest == BOUNDS.digest("device", *topics)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("headers = true\n" + MAPPING, "--input-map m.toml says headers = true, and the join reads no headers"),
        (MAPPING + "[clicks.where]\nkind = 'click'\n", "m.toml line 15: --input-map reads each record of clicks"),
    ],
)
def test_a_mapping_that_only_ingest_can_use_is_refused_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        input_maps(text, "m.toml")
    assert says in str(raised.value)
    assert "`clickfold worker ingest --source`" in str(raised.value)


def test_topics_of_inputs_may_have_other_names_but_not_one_for_both() -> None:
    cluster = Cluster("k:9092", inputs={"impressions": "shop.views"})
    assert [cluster.topic(role) for role in ("impressions", "clicks")] == ["shop.views", "ads.clicks"]
    with pytest.raises(SettingsError, match=r"both topic a; .* `clickfold worker ingest` takes one topic apart"):
        Cluster("k:9092", inputs={"impressions": "a", "clicks": "a"})


def test_the_oracle_judges_what_the_mapping_makes_and_why_it_makes_nothing() -> None:
    given = [
        Record(offset, -1, b"a", value)
        for offset, value in enumerate([shown("a"), impression_json("a"), b"{", None, shown("a", at="x")])
    ]
    found = list(mapped_records(given, MAPS.of["impressions"]))
    assert [orjson.loads(record.value or b"")["impression_id"] for record in found[:2]] == ["a", "a"]
    assert [(record.offset, record.reason) for record in found if isinstance(record, Unmapped)] == [
        (2, Reason.UNDECODABLE),
        (3, Reason.TOMBSTONE),
        (4, Reason.MAPPING),
    ]
    assert list(mapped_records(given, None)) == given


def test_every_kind_of_record_came_in_the_histories(summary: Summary) -> None:
    world, _ = run(0)
    reasons = Counter(
        decode(out.value or b"", Rejected).reason for out in world.broker.outputs() if out.topic == "rejects"
    )
    assert reasons[Reason.MAPPING] > 0
    assert reasons[Reason.UNDECODABLE] > 0
