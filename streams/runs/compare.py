"""How a run differs from live work or from another run: every measure, in SQL, in bounded memory.

Sums are compared, and a digest beside them that no two different tables share but by chance (2^-64): the sum, modulo
2^64, of each measure times a number hashed from the row's minute and dimensions. It is linear, so it does not see how
join partitions split a total, and it takes a few bytes a group where a join of ten million rows would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.clickhouse.queries import Table, answer
from schemas.errors import SettingsError
from schemas.totals import DIMENSIONS, MEASURES
from streams.runs.minutes import (
    READING,
    Span,
    final_in_both,
    first_minute_ms,
    minutes_in,
    owned,
    united,
    within,
    without,
)
from streams.runs.record import ACTIVE, LIVE, MINUTE_MS, known_run
from streams.warehouse.shapes import SHAPES

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

GROUPS: Final = ("table", "minute", "campaign")
# Past this many bytes of groups ClickHouse goes on in files. A group takes about 200: only years of minutes get there.
_SETTINGS: Final = {
    **READING,
    "max_bytes_before_external_group_by": 1 << 30,
}
# Stands for what sums can't show: same sums, other dimensions.
FINER: Final = "finer dimensions"


class Subject(NamedTuple):
    """One table to compare: its rows and view, the time they count for, and its measures as SQL by name."""

    name: str
    rows: str
    view: str
    time: str
    measures: Mapping[str, str]
    digest: str


class Compared(NamedTuple):
    """One table: the minutes compared, the sums of both sides by measure, how many minutes differ, and whether any row
    does."""

    table: str
    minutes: int
    not_there: int
    sums: list[tuple[str, int, int]]
    minutes_differ: int
    equal: bool


class Comparison(NamedTuple):
    """A run against another. `not_final` of the owned minutes are left out, and in each table those the other does not
    have. `differences` are the first ones."""

    run: str
    against: str
    not_final: int
    tables: list[Compared]
    differences: Table

    @property
    def equal(self) -> bool:
        """No difference in what was compared."""
        return all(table.equal for table in self.tables)


def _totals_digest() -> str:
    row = f"cityHash64(minute, {', '.join(DIMENSIONS)})"
    return "sumWithOverflow(" + " + ".join(
        f"{name} * intHash64(bitXor({row}, {at}))" for at, name in enumerate(MEASURES)
    ) + ")"  # fmt: skip


def _outcomes_digest() -> str:
    # A hash of null is null, and null adds nothing; no delay and no probability is as these.
    instead = {"delay_ms": "ifNull(delay_ms, -9223372036854775808)", "pctr": "ifNull(pctr, -1.)"}
    names = [field.name for field in SHAPES["outcomes"].fields if field.name != "join_partition"]
    return f"sumWithOverflow(toInt64(cityHash64({', '.join(instead.get(name, name) for name in names)})))"


SUBJECTS: Final = (
    Subject(
        "minutes", "minute_totals", "minutes", "minute", {name: f"sum({name})" for name in MEASURES}, _totals_digest()
    ),
    Subject(
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
    """How a join run differs from another, in minutes it owns that are final in both. `by` are the GROUPS to name
    differences by, `rows` how many at most.

    Raises SettingsError for an unknown run or group, a run of models, or when there is nothing to compare.
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
            f"run {name}: none of its {minutes_in([owned(record)]):,} minutes is final in it and in "
            f"{against or 'live work'} ({not_final:,} are not, {not_there:,} are not there); wait until the watermarks "
            "have passed them"
        )
    tables, found = [], Table((), (), [])
    for subject in SUBJECTS:
        first_ms = first_minute_ms(client, subject.view if against == ACTIVE else subject.rows, subject.time, against)
        # Rows live work never had, or which its TTL took, are no difference: there is nothing to hold them against.
        there = without(spans, [Span(0, spans[-1].to_ms if first_ms is None else first_ms)])
        lacking = not_there + minutes_in(spans) - minutes_in(there)
        compared, differences = _Sides(client, subject, name, against, there).differ(by, rows - len(found.rows))
        tables.append(compared._replace(not_there=lacking))
        found = Table(differences.columns, differences.types, found.rows + differences.rows)
    return Comparison(name, against, not_final, tables, found)


class _Sides:
    """One table of two runs, within spans."""

    def __init__(self, client: Client, subject: Subject, run: str, against: str, spans: Sequence[Span]) -> None:
        self._client, self._subject, self._run, self._against, self._spans = client, subject, run, against, spans

    def differ(self, by: Sequence[str], rows: int) -> tuple[Compared, Table]:
        """The table as a whole, and the first `rows` differences by group."""
        ((ours, theirs, equal),) = self._ask("SELECT ours, theirs, equal FROM joined", (), self._spans).rows
        compared = Compared(
            table=self._subject.name,
            minutes=minutes_in(self._spans),
            not_there=0,
            sums=list(zip(self._subject.measures, ours, theirs, strict=True)),
            minutes_differ=0,
            equal=bool(equal),
        )
        if compared.equal:
            return compared, self._first(by, self._spans, 0)
        differing, first = self._minutes(rows)
        # Each of these minutes has a difference by campaign: no need to group the others so finely.
        spans = first if {"minute", "campaign"} <= set(by) else self._spans
        return compared._replace(minutes_differ=differing), self._first(by, spans, rows)

    def _minutes(self, rows: int) -> tuple[int, list[Span]]:
        sql = f"""
        SELECT toUnixTimestamp(minute) * 1000, count() OVER () FROM joined WHERE NOT equal
        ORDER BY minute LIMIT {max(rows, 1)}
        """
        found = self._ask(sql, ("minute",), self._spans).rows
        return found[0][1] if found else 0, united(Span(at_ms, at_ms + MINUTE_MS) for at_ms, _ in found)

    def _first(self, by: Sequence[str], spans: Sequence[Span], rows: int) -> Table:
        groups = tuple(group for group in GROUPS[1:] if group in by)
        keys = ", ".join(("table", *groups))
        sql = f"""
        SELECT {keys}, measure, mine AS run, other AS against, mine - other AS difference
        FROM (SELECT * FROM joined WHERE NOT equal ORDER BY {keys} LIMIT {rows})
        ARRAY JOIN
            arrayConcat({list(self._subject.measures)}, if(ours = theirs, ['{FINER}'], [])) AS measure,
            arrayConcat(ours, if(ours = theirs, [NULL], [])) AS mine,
            arrayConcat(theirs, if(ours = theirs, [NULL], [])) AS other
        WHERE measure = '{FINER}' OR mine != other
        LIMIT {rows}
        """
        return self._ask(sql, groups, spans)

    def _ask(self, sql: str, groups: Sequence[str], spans: Sequence[Span]) -> Table:
        count = len(self._subject.measures)
        keys = ", ".join(("table", *groups))
        # Where one side has no such group its sums are an empty list, which stands for zeros.
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
        subject = self._subject
        named = {"minute": f"toStartOfMinute({subject.time}) AS minute", "campaign": "campaign_id AS campaign"}
        keys = "".join(f"{named[group]}, " for group in groups)
        grouped = f"GROUP BY {', '.join(groups)}" if groups else ""
        source = (
            f"{subject.view} WHERE true"
            if run == ACTIVE
            else f"{subject.rows} FINAL WHERE run = {{{parameter}:String}}"
        )
        sums = ", ".join(subject.measures.values())
        return f"""
        SELECT '{subject.name}' AS table, {keys}[{sums}] AS sums, {subject.digest} AS digest
        FROM {source} AND {within(subject.time, spans)} {grouped}
        """
