"""Framed values: which schema, what its form says, and what waits for a registry that does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from unittest.mock import patch
from uuid import UUID

import orjson
import pytest

from schemas.errors import Transient
from schemas.records import Records
from schemas.rejects import Reason
from streams.engine.ports import Log
from streams.ingest import schemas as schemas_of_values
from streams.ingest.awaiting import AwaitingLog, Waiting
from streams.ingest.forms import SchemaText, decoder_of
from streams.ingest.framed import Framed, SchemaId, message_indexes, schema_of
from streams.ingest.registry import Registry, RegistrySettings
from streams.ingest.schemas import GO_S, Schemas, StillLearning
from streams.ingest.values import Values
from tests.ingesting import TOPIC, batch, source, view

JSON = SchemaText("JSON", "{}")
GUID = UUID(int=7)


def framed(schema: int, body: bytes) -> bytes:
    return b"\0" + schema.to_bytes(4, "big") + body


class Shelf:
    """A registry in memory that may be away."""

    def __init__(self, *, answer_s: float = 0.0, **schemas: SchemaText) -> None:
        self.answer_s = answer_s
        self.refused: set[SchemaId] = set()
        self.schemas: dict[SchemaId, SchemaText] = {int(name[1:]): text for name, text in schemas.items()}
        self.asked: list[SchemaId] = []
        self.away = False
        self.now_s = 0.0
        self.known = Schemas(self.fetch, clock_s=lambda: self.now_s)

    def fetch(self, schema: SchemaId) -> SchemaText | None:
        self.asked.append(schema)
        self.now_s += self.answer_s
        if self.away or schema in self.refused:
            raise Transient("the schema registry does not answer")
        return self.schemas.get(schema)


def test_a_value_names_its_schema_by_number_or_guid_or_not_at_all() -> None:
    assert schema_of(b"\0\0\0\0\x2aabc") == Framed(42, 5)
    assert schema_of(b"\1" + GUID.bytes + b"abc") == Framed(str(GUID), 17)
    for plain in (b'{"a":1}', b"", b"\0\0\0\0", b"\1" + GUID.bytes[:15], b"\2abcdef"):
        assert schema_of(plain) is None


def test_message_indexes_are_a_path_and_zero_is_short_for_the_first_message() -> None:
    assert message_indexes(b"\0rest") == ((0,), 1)
    assert message_indexes(b"\2\6rest") == ((3,), 2)
    assert message_indexes(b"\4\2\0rest") == ((1, 0), 3)
    assert message_indexes(b"\2\x80\2rest") == ((128,), 3)
    for wrong in (b"", b"\2", b"\x80" * 20, b"\1", b"\xca\1" + b"\0" * 200):
        with pytest.raises(ValueError, match="message indexes"):
            message_indexes(wrong)


def test_plain_and_framed_values_may_be_mixed_and_each_schema_is_asked_for_once() -> None:
    shelf = Shelf(s1=JSON)
    values = [
        orjson.dumps(view(1)),
        framed(1, orjson.dumps(view(2))),
        framed(9, b"{}"),
        framed(1, b"{"),
        framed(1, b"3"),
    ]
    for _ in range(2):
        shelf.known.learn([*values, None])
        rows, wrong = Values((), shelf.known).rows(values)
    assert sorted(shelf.asked, key=str) == [1, 9]
    assert [place for place in range(5) if place not in rows.broken] == [0, 1]
    assert {place: each.reason for place, each in wrong.items()} == {
        2: Reason.SCHEMA,
        3: Reason.UNDECODABLE,
        4: Reason.UNDECODABLE,
    }
    assert wrong[2].detail == "the registry has no schema 9"
    taken = source(schemas=shelf.known).take(values)
    assert taken.events["impressions"].keys == [b"r1", b"r2"]
    assert [taken.refused[place].reason for place in (2, 3)] == [Reason.SCHEMA, Reason.UNDECODABLE]


def test_a_schema_that_was_gone_is_asked_for_again_after_half_a_minute() -> None:
    shelf = Shelf()
    shelf.known.learn([framed(1, b"{}")])
    shelf.schemas[1] = JSON
    shelf.now_s = 29.0
    shelf.known.learn([framed(1, b"{}")])
    assert shelf.asked == [1]
    shelf.now_s = 31.0
    shelf.known.learn([framed(1, b"{}")])
    assert (shelf.asked, Values((), shelf.known).rows([framed(1, b"{}")])[1]) == ([1, 1], {})


def test_schemas_that_are_remembered_are_bounded_and_those_of_a_batch_stay() -> None:
    shelf = Shelf(s0=JSON)
    with patch.object(schemas_of_values, "_MOST_KNOWN", 3):
        for number in range(1, 20):
            batch_of = [framed(0, b"{}"), framed(number, b"{}")]
            shelf.known.learn_all(batch_of)
            assert Values((), shelf.known).rows(batch_of)[1].keys() == {1}
        shelf.known.forget_oldest()
        assert len(shelf.known._known) == 3


def values_of(schemas: range) -> list[bytes]:
    return [framed(schema, b"{}") for schema in schemas]


@pytest.mark.parametrize(("answer_s", "in_a_go"), [(0.0, 200), (0.5, 4), (30.0, 1)])
def test_many_schemas_are_fetched_in_goes_that_are_bounded_in_number_and_time(answer_s: float, in_a_go: int) -> None:
    shelf = Shelf(answer_s=answer_s)
    values = values_of(range(450))
    with pytest.raises(StillLearning, match=f"{450 - in_a_go} schemas are yet to be fetched"):
        shelf.known.learn(values)
    assert len(shelf.asked) == in_a_go
    with pytest.raises(StillLearning):
        shelf.known.learn(values)
    assert len({*shelf.asked}) == len(shelf.asked) == 2 * in_a_go
    with pytest.raises(StillLearning):
        shelf.known.learn(values, until_s=float("-inf"))
    assert len(shelf.asked) == 2 * in_a_go + 1
    # Although those of the first go were gone for long when the last one began.
    shelf.known.learn_all(values)
    assert {*shelf.asked} == {*range(450)}
    assert Values((), shelf.known).rows(values)[1].keys() == {*range(450)}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (SchemaText("AVRO", "{"), "no Avro schema"),
        (SchemaText("AVRO", '{"type":"record","name":"a","fields":[{"name":"x","type":"Nowhere"}]}'), "no Avro schema"),
        (SchemaText("PROTOBUF", "message {"), "no Protobuf schema"),
        (SchemaText("PROTOBUF", 'syntax = "proto3";', (("../../x.proto", ""),)), "no name of a file"),
        (SchemaText("THRIFT", ""), "AVRO, PROTOBUF and JSON are read"),
    ],
)
def test_a_schema_that_cannot_be_used_is_why_its_values_are_refused(schema: SchemaText, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decoder_of(schema)


def test_bytes_that_are_not_of_their_avro_schema_are_refused() -> None:
    decode = decoder_of(SchemaText("AVRO", '{"type":"record","name":"a","fields":[{"name":"x","type":"string"}]}'))
    assert decode(b"\4ab", None) == {"x": "ab"}
    for wrong in (b"\4a", b"", b"\4abc", b"\1"):
        with pytest.raises(ValueError, match="Avro schema"):
            decode(wrong, None)


class Inner:
    """As much of a log as `AwaitingLog` asks of one."""

    def __init__(self) -> None:
        self.given: list[Records] = []
        self.paused: set[int] = set()

    def poll(self, limit: int, wait_s: float) -> list[Records]:
        given = [records for records in self.given if records.partition not in self.paused]
        self.given = [records for records in self.given if records.partition in self.paused]
        return given

    def pause(self, partition: int, logs: Sequence[str]) -> None:
        self.paused.add(partition)

    def resume(self, partition: int, logs: Sequence[str]) -> None:
        self.paused.discard(partition)

    def seek(self, partition: int, offsets: object) -> None:
        pass

    join = committed = starts = ends = cached_ends = side_log = leave = settled = settle = transact = seek


def waiting_log(shelf: Shelf) -> tuple[AwaitingLog, Inner, Waiting, list[str]]:
    inner, waiting, warnings = Inner(), Waiting(), list[str]()
    log: Log = inner  # type: ignore[assignment]  # only what is asked
    made = AwaitingLog(log, shelf.known, waiting, clock_s=lambda: shelf.now_s, warn=warnings.append)
    return made, inner, waiting, warnings


def test_records_wait_in_order_while_the_registry_is_away_and_others_go_on() -> None:
    shelf = Shelf(s1=JSON)
    shelf.away = True
    log, inner, waiting, warnings = waiting_log(shelf)
    first, second = batch([framed(1, b"{}")], partition=0), batch([b"{}"], partition=0, start=1)
    other = batch([b"{}"], partition=1)
    inner.given = [first, second, other]
    assert log.poll(10, 0.0) == [other]
    assert (inner.paused, waiting.why) == ({0}, "the schema registry does not answer")
    # What the runner wants goes on only once nothing is kept back.
    log.resume(0, [TOPIC])
    assert inner.paused == {0}
    asked = []
    for now_s in range(1, 200):
        shelf.now_s = float(now_s)
        before = len(shelf.asked)
        assert log.poll(10, 0.0) == []
        asked += [now_s] * (len(shelf.asked) - before)
    gaps = [after - before for before, after in pairwise(asked)]
    assert gaps[:5] == [2, 4, 8, 16, 30]
    assert set(gaps[5:]) == {30}
    assert len(warnings) == 1
    shelf.away, shelf.now_s = False, 300.0
    assert log.poll(10, 0.0) == [first, second]
    assert (inner.paused, waiting.why) == (set(), "")


def test_records_of_many_schemas_wait_for_some_polls_while_others_go_on() -> None:
    shelf = Shelf(answer_s=0.1)
    log, inner, waiting, warnings = waiting_log(shelf)
    many, later = batch(values_of(range(50)), partition=0), batch(values_of(range(60, 70)), partition=1)
    inner.given = [many, later]
    assert log.poll(10, 0.0) == []
    assert (waiting.why, inner.paused) == ("30 schemas are yet to be fetched from the registry", {0, 1})
    polls = 1
    found: list[Records] = []
    while inner.paused:
        began_s, polls = shelf.now_s, polls + 1
        plain = batch([b"{}"], partition=2, start=polls)
        inner.given.append(plain)
        given = log.poll(10, 0.0)
        assert shelf.now_s - began_s < GO_S + 0.2
        assert given[-1] == plain
        found += given[:-1]
    assert (found, polls) == ([later, many], 3)
    assert (waiting.why, len(warnings), len(shelf.asked)) == ("", 1, 60)
    for more, said in ((100, 1), (200, 2)):
        shelf.now_s += 30.0
        inner.given = [batch(values_of(range(more, more + 50)), partition=0)]
        assert log.poll(10, 0.0) == []
        assert len(warnings) == said
        while inner.paused:
            log.poll(10, 0.0)


def test_a_poll_gives_back_no_more_than_it_has_time_for() -> None:
    shelf = Shelf(answer_s=1.5)
    shelf.away = True
    log, inner, _, _ = waiting_log(shelf)
    kept = [batch(values_of(range(at, at + 1)), partition=0, start=at) for at in range(5)]
    inner.given = list(kept)
    assert log.poll(10, 0.0) == []
    shelf.away, shelf.now_s = False, 100.0
    assert log.poll(10, 0.0) == kept[:2]
    assert shelf.now_s == 103.0
    assert log.poll(10, 0.0) + log.poll(10, 0.0) == kept[2:]


def test_schemas_that_were_learned_in_one_poll_are_known_until_the_next() -> None:
    shelf = Shelf()
    log, inner, _, _ = waiting_log(shelf)
    first, second = batch(values_of(range(4)), partition=0), batch(values_of(range(4, 8)), partition=1)
    inner.given = [first, second]
    with patch.object(schemas_of_values, "_MOST_KNOWN", 3):
        for records in log.poll(10, 0.0):
            values = [value for value in records.values if value is not None]
            assert len(Values((), shelf.known).rows(values)[1]) == 4
        log.poll(10, 0.0)
        assert len(shelf.known._known) == 3


def test_a_schema_that_the_registry_does_not_give_holds_up_its_own_partition_alone() -> None:
    shelf = Shelf()
    shelf.refused = {1}
    log, inner, _, _ = waiting_log(shelf)
    inner.given = [batch(values_of(range(1, 2)), partition=0)]
    assert log.poll(10, 0.0) == []
    other = batch(values_of(range(2, 3)), partition=1)
    inner.given = [other]
    found: list[Records] = []
    for _ in range(3):
        shelf.now_s += 30.0
        found += log.poll(10, 0.0)
    assert (found, inner.paused) == ([other], {0})


def test_what_was_kept_back_is_forgotten_where_the_partition_is_read_anew() -> None:
    shelf = Shelf(s1=JSON)
    shelf.away = True
    log, inner, waiting, _ = waiting_log(shelf)
    inner.given = [batch([framed(1, b"{}")])]
    assert log.poll(10, 0.0) == []
    log.seek(0, {TOPIC: 0})
    shelf.away, shelf.now_s = False, 10.0
    assert log.poll(10, 0.0) == []
    assert waiting.why == ""


def test_a_login_in_the_address_of_a_registry_is_never_shown() -> None:
    settings = RegistrySettings("http://user:se@cret@127.0.0.1:9,https://other:secret@127.0.0.1:9/x")
    assert "cret" not in repr(settings)
    with pytest.raises(Transient) as raised:
        Registry(settings).fetch(7)
    assert "cret" not in str(raised.value)
    assert "http://127.0.0.1:9,https://127.0.0.1:9/x" in str(raised.value)
