"""Users who were forgotten: the hash of such a user is left out of rows that are inserted, and of what is read.

So is the detail of a dead letter that quotes the id. Of a refused record ClickHouse has nothing else that may name a
user: its value stays in Kafka.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import xxhash

from schemas.rejects import Reason

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.warehouse.rows import Rows

USER_HASH: Final = "user_hash"
_LISTED: Final = f"{USER_HASH} IN (SELECT {USER_HASH} FROM forgotten_users)"
# SQL: the hash of a row as readers may see it, whatever is stored. As in the view `outcomes`.
READABLE: Final = f"if({_LISTED}, 0, {USER_HASH})"
# SQL: whether a row still stores the hash of a user who was forgotten.
STILL_STORED: Final = _LISTED
REJECTS: Final = "reject_rows"
# In place of a detail that quotes a user who was forgotten, or may do so.
TOMBSTONE: Final = "the value is left out, as it names or may name a user who was forgotten"
# The detail of a refusal by a mapping begins with file, line and rule.
_RULE_ENDS: Final = ": "
# So long are the details that `rejected` cuts.
DETAIL_CHARS: Final = 300
# A value that was too long to be quoted whole ends so.
_CUT: Final = "…"
# SQL: whether a detail may have the beginning of an id, which has no hash.
CUT: Final = f"(position(detail, '{_CUT}') > 0 OR lengthUTF8(detail) >= {DETAIL_CHARS})"
# SQL: whether a detail was replaced.
TOMBSTONED: Final = f"endsWith(detail, '{TOMBSTONE}')"
# SQL: what `tombstone` gives.
TOMBSTONE_OF_ROW: Final = (
    f"concat(if(reason = '{Reason.MAPPING}' AND position(detail, '{_RULE_ENDS}') > 0, "
    f"substring(detail, 1, position(detail, '{_RULE_ENDS}') + {len(_RULE_ENDS) - 1}), ''), '{TOMBSTONE}')"
)
# A text as JSON or Python quotes it, and a word.
_JSON_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_PYTHON_TEXT: Final = re.compile(r"'([^']*)'")
_WORD: Final = re.compile(r"""[^\s"',:;=(){}\[\]]+""")

# Rows that are on their way when a user is forgotten are hidden by the view until the next `clickfold forget`.
LOOK_EVERY_S: Final = 5.0


def user_hash(user_id: str | None) -> int:
    """What ClickHouse has of a user id; 0 without one."""
    return xxhash.xxh3_64_intdigest(user_id.encode()) if user_id else 0


def forgotten_hashes(client: Client) -> set[int]:
    """The hashes of all users who were forgotten."""
    return {int(row[0]) for row in client.query(f"SELECT {USER_HASH} FROM forgotten_users").result_rows}


def _quoted(detail: str) -> Iterator[str]:
    """Every text of a detail that may be an id: what is in quotes, and each word."""
    for text in _JSON_TEXT.findall(detail):
        try:
            yield json.loads(text)
        except ValueError:
            yield text[1:-1]
    yield from _PYTHON_TEXT.findall(detail)
    yield from _WORD.findall(detail)


def quotes_any(detail: str, hashes: Collection[int]) -> bool:
    """Whether a detail quotes the id of one of these users."""
    # An escape may stand for what is no character.
    return any(text and xxhash.xxh3_64_intdigest(text.encode(errors="replace")) in hashes for text in _quoted(detail))


def tombstone(reason: str, detail: str) -> str:
    """What stands in place of a detail: the rule of the mapping that refused the record, and no value."""
    rule, ends, _ = detail.partition(_RULE_ENDS) if reason == Reason.MAPPING else ("", "", "")
    return f"{rule}{ends}{TOMBSTONE}" if ends else TOMBSTONE


def _may_name(detail: str, hashes: Collection[int]) -> bool:
    return _CUT in detail or len(detail) >= DETAIL_CHARS or quotes_any(detail, hashes)


class ForgottenUsers:
    """The list of them as a writer knows it, at most `LOOK_EVERY_S` old. For one thread."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._look_at_s = float("-inf")
        self._seen: object = None
        self._hashes: set[int] = set()

    def left_out_of(self, client: Client, rows: Rows) -> Rows:
        """The rows without the users who were forgotten. Raises the errors of clickhouse-connect.

        Their hash is 0. A dead letter that quotes one, or may do so, has a tombstone for its detail, and no hash of the
        value.
        """
        if rows.table == REJECTS:
            # The view cannot hide a detail that is on its way, so the list is asked for each insert. There are few.
            self._look(client)
            return self._with_tombstones(rows) if self._hashes else rows
        if USER_HASH not in rows.names:
            return rows
        if self._clock_s() >= self._look_at_s:
            self._look(client)
        column = rows.columns[rows.names.index(USER_HASH)]
        if not self._hashes or self._hashes.isdisjoint(column):
            return rows
        return _with(rows, {USER_HASH: [0 if value in self._hashes else value for value in column]})

    def _with_tombstones(self, rows: Rows) -> Rows:
        reasons, details, values = (rows.columns[rows.names.index(name)] for name in ("reason", "detail", "xxh3"))
        named = [_may_name(detail, self._hashes) for detail in details]
        if not any(named):
            return rows
        kept = {
            "detail": [
                tombstone(*each) if gone else each[1] for gone, *each in zip(named, reasons, details, strict=True)
            ],
            "xxh3": ["" if gone else value for gone, value in zip(named, values, strict=True)],
        }
        return _with(rows, kept)

    def _look(self, client: Client) -> None:
        # Each new user has a new time or adds a row.
        (seen,) = client.query("SELECT count(), max(forgotten_at) FROM forgotten_users").result_rows
        if seen != self._seen:
            self._hashes = forgotten_hashes(client)
            self._seen = seen
        self._look_at_s = self._clock_s() + LOOK_EVERY_S


def _with(rows: Rows, kept: Mapping[str, list[Any]]) -> Rows:
    columns = [kept.get(name, column) for name, column in zip(rows.names, rows.columns, strict=True)]
    return replace(rows, columns=columns)
