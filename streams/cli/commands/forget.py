"""`clickfold forget`: takes users out of ClickHouse, and says until when Kafka and kept state still have their ids."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from schemas.clickhouse.queries import Table
from schemas.errors import SettingsError
from streams.cli.beside_up import options_beside_up
from streams.cli.commands import options
from streams.cli.connections import clickhouse_client, kafka_cluster, options_of_up
from streams.cli.render.answers import Format, write
from streams.cli.render.figures import DASH, count
from streams.cli.render.records_bar import records_bar
from streams.erasure.kept import KeptTopic, kept_in_kafka, state_until_ms
from streams.erasure.warehouse import Quoting, Stored, erase, erase_quoted, quoting, stored
from streams.erasure.warehouse import forget as list_users
from streams.mapping.values import hashed
from streams.warehouse.forgotten import user_hash
from streams.worker.environment import variable

# A worker shares its last two snapshots, a minute apart, and objects of a former owner are deleted after ten minutes.
_SNAPSHOTS_LATER_MIN = 15
_HERE = "this command"
_KEPT = {"where": "String", "holds": "String", "records": "String", "kept until, UTC": "String", "settings": "String"}


def forget(
    context: typer.Context,
    user: Annotated[
        list[str] | None,
        typer.Option(help="Id of a user, as in `user_id`; may be repeated. None: those of before, again."),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with an id on each line; - is standard input.", show_default=False),
    ] = None,
    hash_with: Annotated[
        str,
        typer.Option(
            metavar="VARIABLE", help="The ids were hashed by a mapping, with the salt in this variable (hash_with)."
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is stored, and where else.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    scan: Annotated[
        bool, typer.Option("--scan", help="Read the topics of Kafka to count the records that name the users.")
    ] = False,
    window: options.Window = "30m",
    skew: options.Skew = "5s",
    lateness: options.Lateness = "2m",
    dedupe: options.Dedupe = "",
    format_: Annotated[Format, typer.Option("--format", help="How the places are written.")] = Format.TABLE,
) -> None:
    """Take users out of ClickHouse for good, and say until when Kafka and kept state still have their ids.

    Outcomes stay, without the user: their hash becomes 0, in every run, and so it does in rows that come later. Dead
    letters stay too; a tombstone takes the place of a detail that quotes the id. So all totals stay, and `clickfold
    verify` counts these rows and does not differ. Kafka and checkpoints cannot be changed: what they keep is listed,
    with the time until which they keep it. Without a user it takes out what has come back since.
    """
    given = [*(user or ()), *(_lines(users) if users else ())]
    names = [_as_stored(name, hash_with) for name in given]
    hashes = {user_hash(name) for name in names}
    # What a mapping refused has the id as it came.
    quoted_hashes = hashes | {user_hash(name) for name in given}
    now_ms = time.time_ns() // 1_000_000
    of_up = options_beside_up(context)
    bounds = options.join_bounds(
        window=of_up.get("--window", window),
        skew=of_up.get("--skew", skew),
        lateness=of_up.get("--lateness", lateness),
        future="60s",
        dedupe=dedupe,
        negative_rate=0.0,
    )
    state_ms = state_until_ms(now_ms=now_ms, window_ms=bounds.window_ms, dedupe_ms=bounds.dedupe_ms)
    kept = _kept_in_kafka({*names, *given}, now_ms, scan=scan) if names else None
    with clickhouse_client() as client:
        found = stored(client, hashes)
        letters = quoting(client, quoted_hashes)
        rows = [*_clickhouse_rows(found, letters), *map(_topic_row, kept or ()), *_state_rows(state_ms)]
        write(Table(tuple(_KEPT), tuple(_KEPT.values()), rows), format_)
        times = f", {_text(found.first_ms)} to {_text(found.last_ms)}" if found.rows else ""
        note = "Totals, models and pacing hold no user. Export again hours that were exported with these users."
        _say(f"{count(found.rows)} rows of {count(found.runs)} runs{times}. {note}")
        if kept is None and names:
            _say("Kafka: not asked, because none is configured and none runs here.")
        if dry_run:
            return
        if not yes:
            _ask(len(hashes), found.rows)
        list_users(client, hashes)
        with records_bar() as bar:
            task = bar.add_task("parts", total=None)
            taken = erase(client, lambda parts: bar.update(task, total=parts))
            # Again: some may have come since.
            letters = quoting(client, quoted_hashes)
            erase_quoted(client, letters, lambda parts: bar.update(task, total=parts))
    quoted = f", {count(len(letters.places) + letters.cut)} details of dead letters" if any(letters) else ""
    _say(
        f"forgotten: {count(len(hashes))} users, {count(taken)} rows{quoted}. What a sink was writing just now is "
        "hidden; the next `clickfold forget` takes it out, for which no user is needed."
    )


def _as_stored(name: str, hash_with: str) -> str:
    if not hash_with:
        return name
    salt = variable(hash_with)
    if not salt:
        raise SettingsError(f"the variable {hash_with} is empty; set it to the salt that the mapping had")
    return hashed(salt.encode(), name)


def _lines(path: Path) -> list[str]:
    try:
        text = sys.stdin.read() if path == Path("-") else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--users {path} cannot be read: {error}; give a file of UTF-8 text") from error
    return [line for line in text.splitlines() if line]


def _kept_in_kafka(names: Collection[str], now_ms: int, *, scan: bool) -> list[KeptTopic] | None:
    try:
        cluster = kafka_cluster()
    except SettingsError:
        if scan:
            raise
        return None
    with records_bar() as bar:
        task = bar.add_task("records", total=None)
        return kept_in_kafka(
            *(cluster, names),
            now_ms=now_ms,
            scan=scan,
            sources=[text.partition("=")[0] for _, text in options_of_up("ingest")],
            on_read=lambda records: bar.update(task, advance=records),
        )


def _clickhouse_rows(found: Stored, letters: Quoting) -> list[list[str]]:
    may = f"{count(letters.cut)} more are cut and may quote it" if letters.cut else ""
    return [
        ["ClickHouse, outcome_rows", "the hash of the id", count(found.rows), _HERE, ""],
        ["ClickHouse, reject_rows", "details that quote the id", count(len(letters.places)), _HERE, may],
    ]


def _state_rows(state_ms: int) -> list[list[str]]:
    holds, goes_on = "open impressions", "while traffic goes on"
    later_ms = state_ms + _SNAPSHOTS_LATER_MIN * 60_000
    return [
        ["checkpoints of the join", holds, DASH, _text(state_ms), goes_on],
        ["shared snapshots", holds, DASH, _text(later_ms), goes_on],
        ["folders of backfills", holds, DASH, "you delete them", "backfill/RUN in --state-dir"],
    ]


def _topic_row(kept: KeptTopic) -> list[str]:
    until = "for ever" if kept.until_ms is None else _text(kept.until_ms)
    until = "none now" if kept.records == 0 else until
    return [kept.topic, kept.holds, DASH if kept.records is None else count(kept.records), until, kept.retention]


def _ask(users: int, rows: int) -> None:
    if not sys.stdin.isatty():
        raise SettingsError("standard input is no terminal, so nobody can be asked; give --yes, or --dry-run to look")
    if not typer.confirm(f"Forget {count(users)} users, in {count(rows)} rows? It cannot be undone.", err=True):
        raise SettingsError("nothing was changed")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _text(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M}"
