"""How a run differs from live work or from another run: every measure, in SQL, in bounded memory.

It compares sums and a digest. Different tables have the same digest only by chance, 2^-64. The digest is the sum,
modulo 2^64, of each measure times a hash of the minute and dimensions of its row. Because it is linear, it does not
depend on how join partitions split a total. It takes a few bytes for each group. A join of ten million rows would take
gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.clickhouse.extended import extra_columns
from schemas.clickhouse.queries import Table, answer
from schemas.clickhouse.quoting import identifier
from schemas.errors import SettingsError
from schemas.totals import DIMENSIONS, MEASURES
from streams.runs.minutes import (
    READ_SETTINGS,
    Span,
    final_in_both,
    first_minute_ms,
    minutes_in,
    owned_span,
    united,
    within,
    without,
)
from streams.runs.record import ACTIVE, LIVE, MINUTE_MS, known_run
from streams.warehouse.forgotten import READABLE, USER_HASH
from streams.warehouse.shapes import SHAPES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

GROUPS: Final = ("table", "minute", "campaign")
# Above this many bytes ClickHouse keeps groups in files. A group takes about 200 bytes, so these are 5 million groups.
_SETTINGS: Final = {
    **READ_SETTINGS,
    "max_bytes_before_external_group_by": 1 << 30,
}
# In place of a measure, where sums are equal and the dimensions of the rows differ.
FINER: Final = "finer dimensions"


class TableSpec(NamedTuple):
    """A table to compare. `rows` is the table and `view` what shows promoted runs; the rest is SQL over either.

    `time` is the event time of a row; `measures` are sums by name.
    """

    name: str
    rows: str
    view: str
    time: str
    measures: Mapping[str, str]
    digest: str


class TableResult(NamedTuple):
    """The comparison of one table.

    `minutes`: how many were compared. `not_there`: owned minutes left out because the other run has none. `sums`:
    (measure, in the run, in the other run). `equal`: no row differs.
    """

    table: str
    minutes: int
    not_there: int
    sums: list[tuple[str, int, int]]
    minutes_differ: int
    equal: bool


class Comparison(NamedTuple):
    """The comparison of a run with another. `not_final` owned minutes are left out; `differences` are the first."""

    run: str
    against: str
    not_final: int
    tables: list[TableResult]
    differences: Table

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs."""
        return all(table.equal for table in self.tables)


def _totals_digest(extra: Sequence[str] = ()) -> str:
    row = f"cityHash64(minute, {', '.join((*DIMENSIONS, *map(identifier, extra)))})"
    return "sumWithOverflow(" + " + ".join(
        f"{name} * intHash64(bitXor({row}, {index}))" for index, name in enumerate(MEASURES)
    ) + ")"  # fmt: skip


def _outcomes_digest() -> str:
    # The hash of a row with a null would be null, which adds nothing. No delay and no probability has these values.
    # A user may be forgotten in the rows of one run and not yet in those of the other.
    compared_as = {
        "delay_ms": "ifNull(delay_ms, -9223372036854775808)",
        "pctr": "ifNull(pctr, -1.)",
        USER_HASH: READABLE,
    }
    names = [field.name for field in SHAPES["outcomes"].fields if field.name != "join_partition"]
    return f"sumWithOverflow(toInt64(cityHash64({', '.join(compared_as.get(name, name) for name in names)})))"


TABLES: Final = (
    TableSpec(
        "minutes", "minute_totals", "minutes", "minute", {name: f"sum({name})" for name in MEASURES}, _totals_digest()
    ),
    TableSpec(
        "outcomes",
        "outcome_rows",
        "outcomes",
        "event_time",
        {
            "clicks": "toInt64(countIf(kind = 'click'))",
            "repeats": "toInt64(countIf(kind = 'repeat'))",
            "orphans": "toInt64(countIf(kind = 'orphan'))",
            "unclicked": "toInt64(countIf(kind = 'unclicked'))",
            # As integers: a sum of floats depends on its order.
            "weight_micros": "sum(toInt64(round(1e6 * weight)))",
            "delay_ms": "sum(ifNull(delay_ms, 0))",
            "spend_micros": "sumIf(price_micros, kind = 'click')",
        },
        _outcomes_digest(),
    ),
)


def compare(
    client: Client, name: str, *, against: str = LIVE, by: Sequence[str] = GROUPS, rows: int = 20
) -> Comparison:
    """How a join run differs from another, in the minutes it owns that are final in both.

    `by`: the GROUPS by which differences are listed. `rows`: how many at most. Raises SettingsError for an unknown run
    or group, for a run of models, and when there is nothing to compare.
    """
    record = known_run(client, name)
    if record.kind != "join":
        raise SettingsError(f"run {name} is of models: it has measures by window and no minutes")
    unknown = [group for group in by if group not in GROUPS]
    if unknown:
        raise SettingsError(f"--by {unknown[0]!r} is none of {', '.join(GROUPS)}")
    spans, not_final, not_there = final_in_both(client, record, against)
    if not spans:
        raise SettingsError(
            f"run {name}: none of its {minutes_in([owned_span(record)]):,} minutes is final in it and in "
            f"{against or 'live work'} ({not_final:,} may still change, {not_there:,} are not owned there); wait "
            "until the watermarks have passed them"
        )
    results, listed = [], Table((), (), [])
    totals, *others = TABLES
    for table in (totals._replace(digest=_totals_digest(extra_columns(client))), *others):
        first_ms = first_minute_ms(client, table.view if against == ACTIVE else table.rows, table.time, against)
        # Live work may have begun later, or its TTL may have removed its first rows. That is no difference.
        compared_spans = without(spans, [Span(0, spans[-1].to_ms if first_ms is None else first_ms)])
        left_out = not_there + minutes_in(spans) - minutes_in(compared_spans)
        result, differences = _TableComparison(client, table, name, against, compared_spans).result(
            by, rows - len(listed.rows)
        )
        results.append(result._replace(not_there=left_out))
        listed = Table(differences.columns, differences.types, listed.rows + differences.rows)
    return Comparison(name, against, not_final, results, listed)


class _TableComparison:
    """Compares one table of two runs, within spans."""

    def __init__(self, client: Client, table: TableSpec, run: str, against: str, spans: Sequence[Span]) -> None:
        self._client, self._table, self._run, self._against, self._spans = client, table, run, against, spans

    def result(self, by: Sequence[str], rows: int) -> tuple[TableResult, Table]:
        """The result for the whole table, and the first `rows` differences by group."""
        ((ours, theirs, equal),) = self._ask("SELECT ours, theirs, equal FROM joined", (), self._spans).rows
        result = TableResult(
            table=self._table.name,
            minutes=minutes_in(self._spans),
            not_there=0,
            sums=list(zip(self._table.measures, ours, theirs, strict=True)),
            minutes_differ=0,
            equal=bool(equal),
        )
        if result.equal:
            return result, self._differences(by, self._spans, 0)
        differing, first_spans = self._differing_minutes(rows)
        # Each of these minutes has a difference in some campaign, so the other minutes need not be grouped by campaign.
        spans = first_spans if {"minute", "campaign"} <= set(by) else self._spans
        return result._replace(minutes_differ=differing), self._differences(by, spans, rows)

    def _differing_minutes(self, rows: int) -> tuple[int, list[Span]]:
        sql = f"""
        SELECT toUnixTimestamp(minute) * 1000, count() OVER () FROM joined WHERE NOT equal
        ORDER BY minute LIMIT {max(rows, 1)}
        """
        found = self._ask(sql, ("minute",), self._spans).rows
        return found[0][1] if found else 0, united(Span(minute_ms, minute_ms + MINUTE_MS) for minute_ms, _ in found)

    def _differences(self, by: Sequence[str], spans: Sequence[Span], rows: int) -> Table:
        groups = tuple(group for group in GROUPS[1:] if group in by)
        keys = ", ".join(("table", *groups))
        sql = f"""
        SELECT {keys}, measure, mine AS run, other AS against, mine - other AS difference
        FROM (SELECT * FROM joined WHERE NOT equal ORDER BY {keys} LIMIT {rows})
        ARRAY JOIN
            arrayConcat({list(self._table.measures)}, if(ours = theirs, ['{FINER}'], [])) AS measure,
            arrayConcat(ours, if(ours = theirs, [NULL], [])) AS mine,
            arrayConcat(theirs, if(ours = theirs, [NULL], [])) AS other
        WHERE measure = '{FINER}' OR mine != other
        LIMIT {rows}
        """
        return self._ask(sql, groups, spans)

    def _ask(self, sql: str, groups: Sequence[str], spans: Sequence[Span]) -> Table:
        count = len(self._table.measures)
        keys = ", ".join(("table", *groups))
        # A group that one side does not have has an empty list of sums there, which is filled with zeros.
        with_ = f"""
        WITH joined AS
        (
            SELECT {keys}, arrayResize(a.sums, {count}, 0) AS ours, arrayResize(b.sums, {count}, 0) AS theirs,
                ours = theirs AND a.digest = b.digest AS equal
            FROM ({self._side(self._run, "run", groups, spans)}) AS a
            FULL OUTER JOIN ({self._side(self._against, "against", groups, spans)}) AS b USING ({keys})
        )
        """
        return answer(self._client, with_ + sql, {"run": self._run, "against": self._against}, _SETTINGS)

    def _side(self, run: str, parameter: str, groups: Sequence[str], spans: Sequence[Span]) -> str:
        table = self._table
        key_sql = {"minute": f"toStartOfMinute({table.time}) AS minute", "campaign": "campaign_id AS campaign"}
        keys = "".join(f"{key_sql[group]}, " for group in groups)
        grouped = f"GROUP BY {', '.join(groups)}" if groups else ""
        source = (
            f"{table.view} WHERE true" if run == ACTIVE else f"{table.rows} FINAL WHERE run = {{{parameter}:String}}"
        )
        sums = ", ".join(table.measures.values())
        return f"""
        SELECT '{table.name}' AS table, {keys}[{sums}] AS sums, {table.digest} AS digest
        FROM {source} AND {within(table.time, spans)} {grouped}
        """
