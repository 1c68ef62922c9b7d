"""Users who were forgotten, without a server: what a writer leaves out, how ids are hashed, until when ids are kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from schemas.codec import encode
from schemas.errors import Transient
from schemas.outcomes import Outcome
from schemas.rejects import Reason, rejected
from schemas.totals import HOUR_MS
from streams.erasure.kept import gone_by_ms, state_until_ms
from streams.erasure.warehouse import erase
from streams.mapping.values import hashed
from streams.warehouse.forgotten import (
    DETAIL_CHARS,
    LOOK_EVERY_S,
    TOMBSTONE,
    ForgottenUsers,
    quotes_any,
    tombstone,
    user_hash,
)
from streams.warehouse.rows import Rows, rows_of
from tests.factories import record_value, total
from tests.mapped import IMPRESSIONS, REST, one

T0_MS = 1_700_000_000_000


class Listed:
    """A ClickHouse that has nothing but the list of users."""

    def __init__(self, *users: str) -> None:
        self.users, self.asked = list(users), 0

    def query(self, sql: str) -> Any:
        self.asked += 1
        if "count()" in sql:
            return SimpleNamespace(result_rows=[(len(self.users), len(self.users))])
        return SimpleNamespace(result_rows=[(user_hash(user),) for user in self.users])


def outcomes(*users: str | None) -> Rows:
    made = [
        Outcome("unclicked", f"i{at}", 0, label=0, ts=T0_MS, campaign_id="k", user_id=user)
        for at, user in enumerate(users)
    ]
    return rows_of("outcomes", list(map(encode, made)), run="")[0]


def hashes(rows: Rows) -> list[int]:
    return list(rows.columns[rows.names.index("user_hash")])


def test_hash_of_a_forgotten_user_is_left_out_and_all_else_stays() -> None:
    rows = outcomes("ann", "bob", None, "ann")
    kept = ForgottenUsers().left_out_of(Listed("ann", "eve"), rows)  # type: ignore[arg-type]  # it has the one method
    assert hashes(kept) == [0, user_hash("bob"), 0, 0]
    others = [at for at, name in enumerate(rows.names) if name != "user_hash"]
    assert [kept.columns[at] for at in others] == [rows.columns[at] for at in others]
    assert (kept.sources, kept.digest, kept.first) == (rows.sources, rows.digest, rows.first)


def test_rows_without_a_forgotten_user_are_passed_as_they_are() -> None:
    rows, listed = outcomes("bob"), Listed("ann")
    assert ForgottenUsers().left_out_of(listed, rows) is rows  # type: ignore[arg-type]  # as above
    totals = rows_of("totals", [record_value(total(1, version=1))], run="")[0]
    asked = listed.asked
    assert ForgottenUsers().left_out_of(listed, totals) is totals  # type: ignore[arg-type]  # as above
    assert listed.asked == asked


def test_list_is_asked_for_again_after_seconds_and_read_only_when_it_has_changed() -> None:
    now_s = [0.0]
    listed, forgotten = Listed(), ForgottenUsers(lambda: now_s[0])

    def left() -> list[int]:
        return hashes(forgotten.left_out_of(listed, outcomes("ann")))  # type: ignore[arg-type]  # as above

    assert left() == [user_hash("ann")]
    listed.users.append("ann")
    now_s[0] = LOOK_EVERY_S - 0.001
    assert left() == [user_hash("ann")]
    now_s[0] = LOOK_EVERY_S
    assert left() == [0]
    asked = listed.asked
    now_s[0] = 2 * LOOK_EVERY_S
    assert left() == [0]
    assert listed.asked == asked + 1


def letters(*details: str, reason: Reason = Reason.MAPPING) -> Rows:
    made = [
        rejected(reason, detail, b"value", topic="t", partition=0, offset=at, record_ts_ms=T0_MS)
        for at, detail in enumerate(details)
    ]
    return rows_of("rejects", list(map(encode, made)), run="")[0]


def kept_details(rows: Rows, *users: str) -> list[str]:
    """What is inserted where these users were forgotten."""
    kept = ForgottenUsers().left_out_of(Listed(*users), rows)  # type: ignore[arg-type]  # it has the one method
    values = kept.columns[kept.names.index("xxh3")]
    details = list(kept.columns[kept.names.index("detail")])
    assert [value == "" for value in values] == [TOMBSTONE in detail for detail in details]
    assert kept.sources == rows.sources
    return details


@pytest.mark.parametrize(
    "quoting",
    ['"ann"', '{"id": "ann", "n": 1}', '["b", "ann"]', "'ann' is none", "ann is no share", "user=ann", "(ann)"],
)
def test_detail_that_quotes_a_forgotten_user_is_a_tombstone_that_names_the_rule(quoting: str) -> None:
    other = 'm.toml line 6, price: "bob" is no number'
    rows = letters(f"m.toml line 5, user_id: {quoting}", other)
    assert kept_details(rows, "ann") == [f"m.toml line 5, user_id: {TOMBSTONE}", other]
    assert kept_details(rows, "an") == kept_details(rows) == [f"m.toml line 5, user_id: {quoting}", other]


def test_ids_are_found_as_json_writes_them_and_among_apostrophes() -> None:
    assert quotes_any('the campaign\'s "a \\"b\\" c", the user\'s', {user_hash('a "b" c')})
    assert quotes_any("the campaign's id \"ann's\"", {user_hash("ann's")})
    assert quotes_any("'user 3' is no number", {user_hash("user 3")})
    assert quotes_any("12345 is a number with more digits", {user_hash("12345")})
    # A lone surrogate is no character of UTF-8.
    assert not quotes_any('"\\ud800"', {user_hash("ann")})
    assert not quotes_any('"" is no number', {0})


def test_detail_whose_value_is_cut_is_a_tombstone_once_anybody_was_forgotten() -> None:
    cut, long = 'm.toml line 5, price: "aaaa… is no number', "x" * DETAIL_CHARS
    rows = letters(cut, long + "y", "x" * (DETAIL_CHARS - 1))
    assert kept_details(rows) == [cut, long, "x" * (DETAIL_CHARS - 1)]
    assert kept_details(rows, "eve")[:2] == [f"m.toml line 5, price: {TOMBSTONE}", TOMBSTONE]
    assert kept_details(rows, "eve")[2] == "x" * (DETAIL_CHARS - 1)


def test_only_a_mappings_detail_keeps_what_is_before_the_value() -> None:
    assert tombstone(Reason.UNDECODABLE, "ann: no") == tombstone(Reason.MAPPING, "ann") == TOMBSTONE


def test_list_is_asked_for_before_each_insert_of_dead_letters() -> None:
    listed, forgotten = Listed(), ForgottenUsers(lambda: 0.0)
    rows = letters('m: "ann"')
    assert forgotten.left_out_of(listed, rows) is rows  # type: ignore[arg-type]  # as above
    listed.users.append("ann")
    assert forgotten.left_out_of(listed, rows) is not rows  # type: ignore[arg-type]  # as above


def test_ids_are_hashed_as_a_mapping_hashes_them() -> None:
    text = IMPRESSIONS + REST + 'user_id = { path = "u", hash_with = "SALT" }\n'
    event = one(text, {"i": "i", "c": "c", "a": "x", "t": T0_MS, "p": 1, "u": "ann"}, salts={"SALT": "s3cret"})
    assert event["user_id"] == hashed(b"s3cret", "ann")


DAY_MS = 24 * HOUR_MS


@pytest.mark.parametrize(
    ("config", "until_ms"),
    [
        (
            {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "segment.ms": str(DAY_MS)},
            T0_MS + 8 * DAY_MS + 360_000,
        ),
        ({"cleanup.policy": "delete", "retention.ms": "-1", "segment.ms": "1"}, None),
        # For ever, too: there is no such year.
        ({"cleanup.policy": "delete", "retention.ms": str(2**63 - 1), "segment.ms": "1"}, None),
        ({"cleanup.policy": "compact", "retention.ms": "1", "segment.ms": "1"}, None),
        ({}, None),
    ],
)
def test_record_is_gone_after_retention_and_segment_or_never(config: dict[str, str], until_ms: int | None) -> None:
    assert gone_by_ms(config, T0_MS) == until_ms


class Stuck:
    """A ClickHouse that cannot write a part."""

    def query(self, sql: str) -> Any:
        found = [(1, 1, "Code: 243. Not enough space")] if "system.mutations" in sql else [(user_hash("ann"), 3)]
        return SimpleNamespace(result_rows=found)

    def command(self, sql: str, settings: object) -> None:
        assert "UPDATE user_hash = 0" in sql


def test_part_that_cannot_be_written_is_said() -> None:
    with pytest.raises(Transient, match="cannot take users out of outcome_rows: Code: 243"):
        erase(Stuck())  # type: ignore[arg-type]  # it has the two methods


def test_state_has_an_impression_for_seven_thirds_of_the_longer_horizon() -> None:
    assert state_until_ms(now_ms=T0_MS, window_ms=3_000, dedupe_ms=1_000) == T0_MS + 7_000
    assert state_until_ms(now_ms=T0_MS, window_ms=1_000, dedupe_ms=10_000) == T0_MS + 23_334
