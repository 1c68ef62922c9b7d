"""Inserts rows into ClickHouse and tries again until they are acknowledged."""

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
from streams.warehouse.client import INSERTS
from streams.warehouse.drift import drift
from streams.warehouse.failures import Trouble, asked_to_wait_s, sentence, short_of_memory, trouble
from streams.warehouse.forgotten import ForgottenUsers
from streams.warehouse.rows import Refused, Rows
from streams.warehouse.timeouts import ANSWER_TIMEOUT_S

# A wait is random, from 0 to a bound that doubles from 0.2 s to 10 s: so several sinks do not try again at the same
# moment, and a server that is up again is noticed within 10 s. The number of tries has no bound: ClickHouse may be down
# for a day, and Kafka keeps what is not read meanwhile.
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
# An answer may ask for a longer wait by Retry-After. The bound protects against an hour that was set by mistake.
LONGEST_ASKED_S: Final = 60.0
# Tries of an error that is not classified: about 30 s.
UNKNOWN_ATTEMPTS = 8
# Tries, about 1.5 s, of an insert for which the server lacks memory, before it is halved: a limit too low for the
# batch does not pass by itself. A single row is tried for as long as it takes.
MEMORY_ATTEMPTS = 3
# Finding one bad row among 50,000 takes 32 inserts. With more bad rows than this the table is wrong and not the rows:
# it would turn a whole topic into dead letters.
MOST_BAD_ROWS = 100
# A record of a thousand rows may be bad as a whole. After so many of its rows, a part that is refused is not halved any
# more. That takes 60 inserts in place of 2,000, and other parts that the table takes are still inserted.
MOST_BAD_ROWS_OF_ONE = 8
_SETTINGS: Final[Mapping[str, object]] = {
    # On by default since ClickHouse 26.3. Then the answer would come before the rows are in the table.
    "async_insert": 0,
    # A column of another type must be an error, and a null must not become a default. By default ClickHouse writes the
    # last byte of an Int64 into an Int8, without an error.
    "input_format_native_allow_types_conversion": 0,
    "input_format_null_as_default": 0,
    # One block for each insert, and so one part for each partition, however many blocks were sent: a token is valid for
    # a whole block.
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 1 << 40,
    # A partition is a month. A batch of history over more than a hundred months would otherwise fail every time.
    "max_partitions_per_insert_block": 0,
}

_backoff = wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


def insert_settings(*, clustered: bool, answer_s: int = ANSWER_TIMEOUT_S) -> dict[str, object]:
    """Settings of every insert. With `clustered`, an insert is acknowledged once a majority of the replicas has it."""
    if not clustered:
        return dict(_SETTINGS)
    # At 0.8 of the client's timeout, so that the server's error arrives. The default is 600 s, far beyond that timeout.
    quorum = {"insert_quorum": "auto", "insert_quorum_parallel": 1, "insert_quorum_timeout": answer_s * 800}
    return {**_SETTINGS, **quorum}


class Writer:
    """Writes over one connection, which is opened at the first write and kept. For one thread.

    `connect` returns a client on a database that has the tables. Once `give_up` is set, it does not wait or try again.
    `on_wait` is called with the failure before each wait, `on_done` after an insert was acknowledged.
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
        self._forgotten = ForgottenUsers()

    def write(self, rows: Rows) -> list[Refused]:
        """Returns once all rows are in the table, except for those it refuses; returns their records, each once.

        Rows may be inserted twice, when an answer was lost and the table has no deduplication log. Raises SettingsError
        when the table, rights or settings are wrong, and Transient when `give_up` is set or an unknown error persists:
        then any part of the rows may be in the table.
        """
        refused: dict[int, Refused] = {}
        refusals = 0
        waiting = [rows] if len(rows) else []
        # Rows that were deleted by hand are sent again by resetting offsets, and those of a dropped run by a backfill.
        # With tokens of the content alone ClickHouse would drop them as copies. So a token has the content and a number
        # of this call: only the tries of one insert have the same token.
        call = secrets.token_hex(8)
        while waiting:
            part = waiting.pop()
            failure = self._insert(part, f"{part.content}-{call}")
            if failure is None:
                continue
            if short_of_memory(failure):
                waiting += _halves(part)
                continue
            source = part.sources[0]
            before = refused[source].rows if source in refused else 0
            if len(part) > 1 and (source != part.sources[-1] or before < MOST_BAD_ROWS_OF_ONE):
                waiting += _halves(part)
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
            if kind is Trouble.ROWS or (_to_halve(failure, rows) and not self._give_up.is_set()):
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
        # At each try: an insert may wait for hours, and users are forgotten meanwhile.
        rows = self._forgotten.left_out_of(self._client, rows)
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
            difference = drift(self._client, rows)
        except ClickHouseError:
            return  # The caller raises the error that led here.
        if difference:
            raise SettingsError(f"{difference}. Then start again; none of it was committed, Kafka has all rows")

    def _before_sleep(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        assert isinstance(failure, ClickHouseError), "nothing else is tried again"
        self._on_wait(failure)


def _halves(rows: Rows) -> list[Rows]:
    """Both halves, the first one last, as the next to be inserted."""
    middle = len(rows) // 2
    return [rows.slice(middle, len(rows)), rows.slice(0, middle)]


def _to_halve(failure: ClickHouseError, rows: Rows) -> bool:
    return len(rows) > 1 and short_of_memory(failure)


def _passes(state: RetryCallState) -> bool:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, ClickHouseError):
        return False
    if _to_halve(failure, state.args[0]):
        return state.attempt_number < MEMORY_ATTEMPTS
    kind = trouble(failure)
    return kind is Trouble.PASSING or (kind is Trouble.UNKNOWN and state.attempt_number < UNKNOWN_ATTEMPTS)


def _wait_s(state: RetryCallState) -> float:
    """At least what the answer asked for, plus a random wait that differs between sinks, and at most the bound."""
    asked_s = asked_to_wait_s(state.outcome.exception() if state.outcome else None)
    return min(LONGEST_ASKED_S, asked_s + _backoff(state))
