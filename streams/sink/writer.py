"""Inserts rows into ClickHouse until they are acknowledged, whatever it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from tenacity import RetryCallState, Retrying, stop_when_event_set, wait_random_exponential
from tenacity.nap import sleep_using_event

from schemas.errors import SettingsError, Transient
from schemas.rejects import Reason
from streams.sink.client import Trouble, trouble
from streams.sink.rows import Refused, Rows

# Waits are drawn from 0 to a bound that doubles from 0.2 s to 10 s: several sinks do not come back all at once, and
# a server that is up again is noticed within 10 s.
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0
# About 30 s of an error nobody classified.
UNKNOWN_ATTEMPTS = 8
# Looking for one row of 50,000 takes 32 inserts. Past this many the table is wrong, not the rows, and a whole topic
# would end as dead letters.
MOST_BAD_ROWS = 100
# A record of a thousand rows may be bad as a whole. Past this many of its rows, a part of it that is refused is not
# halved any more: 60 inserts and not 2,000, and what the table takes of it is in all the same.
MOST_BAD_ROWS_OF_ONE = 8
# async_insert is on by default since ClickHouse 26.3: an answer would then come before the rows are there.
_SETTINGS = {"async_insert": 0}


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
        on_wait: Callable[[str], None] = lambda _: None,
        on_done: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._give_up = give_up
        self._on_wait = on_wait
        self._on_done = on_done
        self._client: Client | None = None

    def write(self, rows: Rows) -> list[Refused]:
        """Returns once all rows are in the table but those it will not take; returns their records, each once.

        May insert rows twice, when an answer was lost. Raises SettingsError when the table, rights or settings are
        wrong, Transient when told to give up or an unknown error stays: then any part of the rows may be in.
        """
        refused: dict[int, Refused] = {}
        refusals = 0
        waiting = [rows] if len(rows) else []
        while waiting:
            part = waiting.pop()
            failure = self._insert(part)
            if failure is None:
                continue
            source = part.sources[0]
            before = refused[source].rows if source in refused else 0
            if len(part) > 1 and (source != part.sources[-1] or before < MOST_BAD_ROWS_OF_ONE):
                middle = len(part) // 2
                waiting += [part.slice(middle, len(part)), part.slice(0, middle)]
                continue
            refused[source] = Refused(source, Reason.UNWRITABLE, _sentence(failure), before + len(part))
            refusals += 1
            if refusals > MOST_BAD_ROWS:
                raise SettingsError(
                    f"ClickHouse refused more than {MOST_BAD_ROWS} of {len(rows)} rows for {rows.table}, so the table "
                    f"is wrong and not the rows: {_sentence(failure)}; compare it with schemas/clickhouse"
                )
        return list(refused.values())

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _insert(self, rows: Rows) -> ClickHouseError | None:
        retrying = Retrying(
            retry=_passes,
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            stop=stop_when_event_set(self._give_up),
            sleep=sleep_using_event(self._give_up),
            before_sleep=self._before_sleep,
            reraise=True,
        )
        try:
            retrying(self._insert_once, rows)
        except ClickHouseError as failure:
            kind = trouble(failure)
            if kind is Trouble.ROWS:
                return failure
            if kind is Trouble.SETUP:
                raise SettingsError(
                    f"ClickHouse takes no rows for {rows.table}: {_sentence(failure)}; check the address, database, "
                    "user and rights, and that `clickfold init` was run"
                ) from failure
            raise Transient(
                f"{len(rows)} rows for {rows.table} are not acknowledged: {_sentence(failure)}",
                retry_after_s=LONGEST_WAIT_S,
            ) from failure
        self._on_done()
        return None

    def _insert_once(self, rows: Rows) -> None:
        if self._client is None:
            self._client = self._connect()
        self._client.insert(
            rows.table,
            rows.columns,
            column_names=rows.names,
            column_types=[get_from_name(name) for name in rows.types],
            column_oriented=True,
            settings=_SETTINGS,
        )

    def _before_sleep(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        self._on_wait(_sentence(failure) if failure else "")


def _passes(state: RetryCallState) -> bool:
    failure = state.outcome.exception() if state.outcome else None
    if not isinstance(failure, ClickHouseError):
        return False
    kind = trouble(failure)
    return kind is Trouble.PASSING or (kind is Trouble.UNKNOWN and state.attempt_number < UNKNOWN_ATTEMPTS)


def _sentence(failure: BaseException) -> str:
    # What clickhouse-connect says of a broken connection is mostly the request's address; urllib3's reason is the news.
    cause = failure.__cause__
    reason = getattr(cause, "reason", None) or cause or failure
    return str(reason).partition("\n")[0][:200]
