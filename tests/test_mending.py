"""What a mapping makes of refused records, one at a time and where a replay reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from schemas.errors import SettingsError
from schemas.records import Records
from schemas.rejects import Reason
from streams.backfill.mending import Mending
from streams.cli.render.rejects import remedy
from streams.ingest.schemas import reading
from streams.mapping.compiled import Compiled
from streams.mapping.language import read_mapping
from streams.mapping.mending import Mended, Mender, NotMended, OwnForm
from streams.redrive.letters import Spot, reasons_named
from streams.worker.input_maps import input_maps
from tests.factories import T0, click_json, impression_json

MAPPING = """
[impressions]
impression_id = "id"
ts = { path = "at", unit = "s" }
campaign_id = { constant = "c" }
creative_id = { constant = "x" }
price_micros = { path = "price", unit = "cents" }

[clicks]
where = { click = { exists = true } }
click_id = "click"
impression_id = "id"
ts = { path = "at", unit = "s" }
"""
SHOWN: dict[str, Any] = {"id": "a", "at": T0 // 1_000, "price": 7}


def mender(text: str = MAPPING, own_forms: Mapping[str, OwnForm] | None = None) -> Mender:
    file = read_mapping(text, "own.toml")
    inputs = {log: Compiled(each) for log, each in file.inputs.items()}
    return Mender(inputs, file.digest, reading(inputs.values(), None, with_headers=file.headers), own_forms or {})


def logs(found: list[Mended] | NotMended) -> list[str]:
    assert not isinstance(found, NotMended), found
    return [each.log for each in found]


def test_a_record_of_another_form_is_as_it_is_what_the_join_makes_of_it() -> None:
    maps = input_maps(MAPPING.replace("where = { click = { exists = true } }\n", ""), "inputs.toml").of
    shown, plain = orjson.dumps(SHOWN), impression_json("b", T0)
    (found,) = Mender(own_forms=maps).mend("impressions", shown)
    assert isinstance(found, Mended)
    assert (found.key, found.ts_ms, orjson.loads(found.value)["price_micros"]) == (b"a", T0, 70_000)
    assert Mender(own_forms=maps).mend("impressions", plain) == Mender().mend("impressions", plain)
    # So a redrive sees that a mapping which says the same makes no other record of it.
    same = mender(own_forms=maps)
    assert same.mend("impressions", shown) == [same.as_it_is("impressions", shown)]
    refused = Mender(own_forms=maps).mend("clicks", orjson.dumps({**SHOWN, "click": "k", "at": "soon"}))
    assert refused == NotMended(
        'inputs.toml line 12, ts: "soon" is no number; text of a time needs unit = "iso" or a pattern'
    )


def test_without_a_mapping_a_record_stays_as_it_is_under_its_impression_id() -> None:
    value = click_json("k", "a", T0)
    assert Mender().mend("clicks", value) == [Mended("clicks", b"a", value, T0)]
    assert Mender().mend("impressions", impression_json("a", T0)) == [
        Mended("impressions", b"a", impression_json("a", T0), T0)
    ]


@pytest.mark.parametrize(
    ("log", "value", "why"),
    [
        ("impressions", b"{", "undecodable: Input data was truncated"),
        ("impressions", None, "tombstone: the record has no value"),
        (None, impression_json("a", T0), "it is of no input, so only a mapping can make one of it: give --map"),
    ],
)
def test_what_nothing_mends_says_why(log: str | None, value: bytes | None, why: str) -> None:
    assert Mender().mend(log, value) == NotMended(why)


def test_record_of_an_input_becomes_one_of_the_same_input_only() -> None:
    value = orjson.dumps({**SHOWN, "click": "k"})
    assert logs(mender().mend("impressions", value)) == ["impressions"]
    assert logs(mender().mend("clicks", value)) == ["clicks"]
    only = MAPPING.partition("[clicks]")[0]
    assert mender(only).mend("clicks", value) == NotMended("the mapping has no table for clicks")


def test_record_of_another_topic_becomes_all_that_its_conditions_take() -> None:
    assert logs(mender().mend(None, orjson.dumps(SHOWN))) == ["impressions"]
    assert logs(mender().mend(None, orjson.dumps({**SHOWN, "click": "k"}))) == ["impressions", "clicks"]


def test_record_that_is_good_as_it_is_needs_no_mapping() -> None:
    value = impression_json("a", T0)
    assert mender().mend("impressions", value) == [Mended("impressions", b"a", value, T0)]
    assert isinstance(mender().mend(None, value), NotMended)


def test_half_of_a_record_is_not_sent() -> None:
    found = mender().mend(None, orjson.dumps({"id": "a", "at": T0 // 1_000, "click": "k", "price": "free"}))
    assert isinstance(found, NotMended)
    assert "price" in found.detail


def test_what_the_mapping_makes_is_checked_as_any_record() -> None:
    found = mender().mend("impressions", orjson.dumps({**SHOWN, "id": "i" * 257}))
    assert isinstance(found, NotMended)
    assert "impression_id" in found.detail


def test_replay_mends_the_records_of_its_plan_and_no_others() -> None:
    values = [orjson.dumps({**SHOWN, "id": name}) for name in "abcd"]
    records = Records("impressions", 1, [3, 5, 6, 9], [T0] * 4, [b"a", b"b", b"c", b"d"], values)
    mending = Mending(MAPPING, "own.toml", {1: {"impressions": [2, 4, 5, 9, 10]}})
    mended = mending(records)
    assert [
        orjson.loads(each or b"")["id" if at in (0, 2) else "impression_id"] for at, each in enumerate(mended.values)
    ] == [*"abcd"]
    assert (mended.offsets, mended.keys) == (records.offsets, records.keys)
    other = Records("clicks", 1, [5], [T0], [b"b"], [values[1]])
    assert mending(other) is other


def test_record_that_the_mapping_cannot_mend_stays_refused() -> None:
    records = Records("impressions", 0, [0], [T0], [b"a"], [b"{"])
    assert Mending(MAPPING, "own.toml", {0: {"impressions": [0]}})(records).values == [b"{"]


def test_every_reason_has_a_remedy_in_words() -> None:
    for reason in Reason:
        assert "{" not in remedy(reason)
        assert len(remedy(reason)) > 20
    assert remedy(Reason.UNDECODABLE).endswith("`clickfold rejects redrive --reason undecodable --map FILE`")


def test_place_of_a_record_is_read_as_it_is_written() -> None:
    spot = Spot("ads.clicks", 1, 812)
    assert Spot.of(str(spot)) == spot
    for wrong in ("ads.clicks", "ads.clicks[1]@812", "ads.clicks/1@x", "/1@2"):
        with pytest.raises(SettingsError, match="TOPIC/PARTITION@OFFSET"):
            Spot.of(wrong)


def test_unknown_reason_names_the_reasons() -> None:
    assert reasons_named("late, key") == {Reason.LATE, Reason.KEY}
    with pytest.raises(SettingsError, match="--reason latest is none; the reasons are tombstone"):
        reasons_named("late,latest")
