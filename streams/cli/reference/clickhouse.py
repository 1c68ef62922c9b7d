"""`reference/clickhouse.md`: views, tables and columns as the engine itself describes them after all migrations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import xxhash

from schemas.clickhouse.migrations import migrations
from streams.cli.reference.markdown import NONE, code, page, table

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Steps on the way to the views above them; a reader has no use for them.
_INTERNAL: Final = ("active_runs", "run_piles", "hour_rollup", "day_rollup", "migrations")
_READ: Final = re.compile(r"(?:FROM|JOIN|TABLE) '?(?:\w+\.)?(\w+)")
_TTL: Final = re.compile(r"TTL (\w+) \+ toIntervalDay\((\d+)\)")


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or dictionary; `columns` are name, type and comment in order."""

    name: str
    engine: str
    comment: str
    order: str
    partition: str
    sql: str
    columns: tuple[tuple[str, str, str], ...]


def clickhouse_page(client: Client) -> str:
    """The page of the client's database."""
    found = relations(client)
    shown = [each for name, each in found.items() if name not in _INTERNAL]
    views = [each for each in shown if each.engine == "View"]
    tables = [each for each in shown if each.engine.endswith("MergeTree")]
    dictionaries = [each for each in shown if each.engine == "Dictionary"]
    return page(
        "ClickHouse views and columns",
        migrations_mark(),
        "Read the views. They show what holds: no versions, no copies, and in each minute either live work or the run "
        "that was promoted for it. Nobody needs to know `FINAL`, and nothing is counted twice. Times are in UTC. "
        "Amounts are integers in millionths of the campaign's currency. `campaign_facts` is a dictionary: "
        "`dictGet('ads.campaign_facts', 'timezone', campaign_id)` gives a fact of a campaign beside any figures. "
        "A campaign may name a time zone that ClickHouse does not know: compare with `system.time_zones` before "
        "`toTimeZone`, which fails for all rows when one zone is unknown.",
        table(("view", "a row is"), ((_link(each), each.comment) for each in [*views, *dictionaries])),
        "## Views",
        *(part for each in [*views, *dictionaries] for part in _view(each, found)),
        "## Tables",
        "Tables hold every version that was written, of every run. Of rows with the same key the one with the highest "
        "version holds. The sink writes them; `hour_totals` and `day_totals` are rolled up every minute. The SQL "
        "files in `schemas/clickhouse` explain the choices of codec, order and lifetime.",
        table(("table", "key", "partition", "kept"), (_table(each) for each in tables)),
    )


def migrations_mark() -> str:
    """Names the migrations a page was made from, for a test that starts no engine."""
    digest = xxhash.xxh3_64_hexdigest("".join(each.digest for each in migrations()).encode())
    return f"<!-- migrations: {digest} -->"


def relations(client: Client) -> dict[str, Relation]:
    """Everything in the client's database by name."""
    columns: dict[str, list[tuple[str, str, str]]] = {}
    sql = "SELECT table, name, type, comment FROM system.columns WHERE database = currentDatabase() ORDER BY position"
    for relation, name, kind, comment in client.query(sql).result_rows:
        columns.setdefault(str(relation), []).append((str(name), str(kind), str(comment)))
    sql = """
    SELECT name, engine, comment, sorting_key, partition_key, create_table_query
    FROM system.tables WHERE database = currentDatabase() ORDER BY name
    """
    return {
        name: Relation(name, engine, comment, order, partition, made, tuple(columns.get(name, ())))
        for name, engine, comment, order, partition, made in client.query(sql).result_rows
    }


def _link(relation: Relation) -> str:
    return f"[`{relation.name}`](#{relation.name})"


def _view(view: Relation, found: Mapping[str, Relation]) -> Iterator[str]:
    yield f"### {view.name}"
    yield f"{view.comment}."
    below = list(_below(view, found))
    rows = []
    for name, kind, comment in view.columns:
        said = comment or next((text for each in below for n, _, text in each.columns if n == name and text), NONE)
        rows.append((code(name), code(_type(kind)), said))
    yield table(("column", "type", "meaning"), rows)


def _below(view: Relation, found: Mapping[str, Relation]) -> Iterator[Relation]:
    """What a view reads, nearest first: where a column has no comment of its own, the column below it says it."""
    for name in dict.fromkeys(_READ.findall(view.sql)):
        if name in found and name != view.name:
            yield found[name]
            yield from _below(found[name], found)


def _table(relation: Relation) -> tuple[str, ...]:
    kept = _TTL.search(relation.sql)
    return (
        code(relation.name),
        ", ".join(map(code, relation.order.split(", "))),
        {"": "none"}.get(relation.partition, "month"),
        f"{kept[2]} days after it was inserted" if kept else "for ever",
    )


def _type(kind: str) -> str:
    return re.sub(r"LowCardinality\((.*?)\)", r"\1", kind)
