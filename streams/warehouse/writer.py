"""Inserts rows into ClickHouse until they are acknowledged, whatever it takes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Final

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from tenacity import RetryCallState, Retrying, stop_when_event_set, wait_random_exponential
from tenacity.nap import sleep_using_event

from schemas.errors import SettingsError, Transient
from schemas.rejects import Reason
from streams.warehouse.client import ANSWER_TIMEOUT_S, INSERTS
from streams.warehouse.drift import drift
from streams.warehouse.failures import Trouble, asked_to_wait_s, sentence, trouble
from streams.warehouse.rows import Refused, Rows

# Waits are drawn from 0 to a bound that doubles from 0.2 s to 10 s: several sinks do not come back all at once, and
# a server that is up again is noticed within 10 s. How often is not bounded: ClickHouse may be away for a day, and
# Kafka holds what is not read meanwhile.
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
# An answer may ask for more by Retry-After, but not for an hour by mistake.
LONGEST_ASKED_S: Final = 60.0
# About 30 s of an error nobody classified.
UNKNOWN_ATTEMPTS = 8
# Looking for one row of 50,000 takes 32 inserts. Past this many the table is wrong, not the rows, and a whole topic
# would end as dead letters.
MOST_BAD_ROWS = 100
# A record of a thousand rows may be bad as a whole. Past this many of its rows, a part of it that is refused is not
# halved any more: 60 inserts and not 2,000, and what the table takes of it is in all the same.
MOST_BAD_ROWS_OF_ONE = 8
_SETTINGS: Final[Mapping[str, object]] = {
    # On by default since ClickHouse 26.3: an answer would then come before the rows are there.
    "async_insert": 0,
    # A column of another type is an error, and a null is not turned into a default: by default Int64 goes into Int8
    # without a word, as its last byte.
    "input_format_native_allow_types_conversion": 0,
    "input_format_null_as_default": 0,
    # One block an insert, so one part a partition, however many blocks were sent: a token is for the whole block.
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 1 << 40,
    # A partition is a month. History over a hundred months in one batch would be TOO_MANY_PARTS for ever.
    "max_partitions_per_insert_block": 0,
}

_backoff = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


def insert_settings(*, clustered: bool, answer_s: int = ANSWER_TIMEOUT_S) -> dict[str, object]:
    """Settings of every insert. `clustered`: acknowledged is what a majority of the replicas has."""
    if not clustered:
        return dict(_SETTINGS)
    # The server gives up first, and says so: its default is 600 s, when nobody listens any more.
    quorum = {"insert_quorum": "auto", "insert_quorum_parallel": 1, "insert_quorum_timeout": answer_s * 800}
    return {**_SETTINGS, **quorum}


class Writer:
    """Writes over one connection, made at the first write and kept. For one thread.

    `connect` gives a client on a database that has the tables. `give_up`, once set, ends waiting and retrying.
    `on_wait` is told the failure before each wait, `on_done` that an insert was acknowledged.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        give_up: threading.Event,
        settings: Mapping[str, object] = _SETTINGS,
        on_wait: Callable[[ClickHouseError], None] = lambda _: None,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._give_up = give_up
        self._settings = settings
        self._on_wait = on_wait
        self._on_done = on_done
        self._client: Client | None = None

    def write(self, rows: Rows) -> list[Refused]:
        """Returns once all rows are in the table but those it will not take; returns their records, each once.

        May insert rows twice, when an answer was lost and the table keeps no deduplication log. Raises SettingsError
        when the table, rights or settings are wrong, Transient when told to give up or an unknown error stays: then
        any part of the rows may be in.
        """
        refused: dict[int, Refused] = {}
        refusals = 0
        waiting = [rows] if len(rows) else []
        # What is deleted from a table by hand is sent again by resetting offsets, and a dropped run by a backfill: with
        # tokens of the content alone ClickHouse would take these for copies, and drop them. So a token is content and
        # call: it goes with the tries of one insert, and with nothing else.
        call = secrets.token_hex(8)
        while waiting:
            part = waiting.pop()
            failure = self._insert(part, f"{part.content}-{call}")
            if failure is None:
                continue
            source = part.sources[0]
            before = refused[source].rows if source in refused else 0
            if len(part) > 1 and (source != part.sources[-1] or before < MOST_BAD_ROWS_OF_ONE):
                middle = len(part) // 2
                waiting += [part.slice(middle, len(part)), part.slice(0, middle)]
                continue
            refused[source] = Refused(source, Reason.UNWRITABLE, sentence(failure), before + len(part))
            refusals += 1
            if refusals > MOST_BAD_ROWS:
                raise SettingsError(
                    f"ClickHouse refused more than {MOST_BAD_ROWS} of {len(rows)} rows for {rows.table}, so the table "
                    f"is wrong and not the rows: {sentence(failure)}; compare it with schemas/clickhouse"
                )
        return list(refused.values())

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _insert(self, rows: Rows, token: str) -> ClickHouseError | None:
        retrying = Retrying(
            retry=_passes,
            wait=_wait_s,
            stop=stop_when_event_set(self._give_up),
            sleep=sleep_using_event(self._give_up),
            before_sleep=self._before_sleep,
            reraise=True,
        )
        try:
            retrying(self._insert_once, rows, token)
        except ClickHouseError as failure:
            kind = trouble(failure)
            if kind is Trouble.ROWS:
                return failure
            if kind is Trouble.SETUP:
                self._check_table(rows)
                raise SettingsError(
                    f"ClickHouse takes no rows for {rows.table}: {sentence(failure)}; check the address, database, "
                    "user and rights, and that `clickfold init` was run"
                ) from failure
            raise Transient(
                f"{len(rows)} rows for {rows.table} are not acknowledged: {sentence(failure)}",
                retry_after_s=LONGEST_WAIT_S,
            ) from failure
        self._on_done()
        return None

    def _insert_once(self, rows: Rows, token: str) -> None:
        if self._client is None:
            self._client = self._connect()
        self._client.insert(
            rows.table,
            rows.columns,
            column_names=rows.names,
            column_types=[get_from_name(name) for name in rows.types],
            column_oriented=True,
            settings={**self._settings, INSERTS: token},
        )

    def _check_table(self, rows: Rows) -> None:
        """Raises SettingsError when the table is not as the rows need it."""
        if self._client is None:
            return
        try:
            found = drift(self._client, rows)
        except ClickHouseError:
            return  # What made someone look says enough.
        if found:
            raise SettingsError(f"{found}. Then start again; nothing of it was committed, Kafka has all rows")

    def _before_sleep(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        assert isinstance(failure, ClickHouseError), "nothing else is tried again"
        self._on_wait(failure)


def _passes(state: RetryCallState) -> bool:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, ClickHouseError):
        return False
    kind = trouble(failure)
    return kind is Trouble.PASSING or (kind is Trouble.UNKNOWN and state.attempt_number < UNKNOWN_ATTEMPTS)


def _wait_s(state: RetryCallState) -> float:
    """Never sooner than an answer asked for, a little later for each of several sinks, never above the bound."""
    asked_s = asked_to_wait_s(state.outcome.exception() if state.outcome else None)
    return min(LONGEST_ASKED_S, asked_s + _backoff(state))
