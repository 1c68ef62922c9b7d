"""The measures of a run of models beside those of live work or another run, window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.clickhouse.queries import Table, answer
from schemas.errors import SettingsError
from streams.runs.minutes import READING, owned
from streams.runs.record import ACTIVE, LIVE, known_run

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MEASURES: Final = ("examples", "log_loss", "calibration", "auc")


class ModelComparison(NamedTuple):
    """A run of models against another: how many windows there are, how many differ or are on one side only, both
    sides' log loss over all of them, and the first windows with both sides' measures."""

    run: str
    against: str
    windows: int
    differ: int
    log_loss: tuple[float | None, float | None]
    beside: Table

    @property
    def equal(self) -> bool:
        """Every window is on both sides, with the same measures."""
        return not self.differ


def compare_models(client: Client, name: str, *, against: str = LIVE, rows: int = 20) -> ModelComparison:
    """The windows that lie wholly in what the run owns, over all outcomes and not by slice; those that differ first.

    Raises SettingsError for an unknown run, or one that is not of models or has no window.
    """
    record = known_run(client, name)
    if record.kind != "models":
        raise SettingsError(f"run {name} is of a join: it has figures by minute and no windows")
    other = LIVE if against == ACTIVE else against
    if other != LIVE:
        known_run(client, other)
    span = owned(record)
    # A window on one side only has nulls on the other; the number of its examples tells.
    sides = ", ".join(f"a.{name} AS {name}_run, b.{name} AS {name}_against" for name in _MEASURES)
    same = " AND ".join(f"isNotDistinctFrom({name}_run, {name}_against)" for name in _MEASURES)
    one = """
    SELECT model, shard, window_start, window_end, weight, examples, log_loss, calibration, auc
    FROM model_metric_rows FINAL
    WHERE run = {%s:String} AND slice = 'all'
        AND window_start >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
        AND window_end <= fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    """
    beside = f"""
    WITH joined AS
    (
        SELECT model, shard, window_start, window_end, {sides}, {same} AS equal,
            a.weight AS weight_run, b.weight AS weight_against
        FROM ({one % "run"}) AS a
        FULL OUTER JOIN ({one % "against"}) AS b USING (model, shard, window_start, window_end)
    )
    """
    values = {"run": name, "against": other, "from_ms": str(span.from_ms), "to_ms": str(span.to_ms)}
    settings = {**READING, "join_use_nulls": 1}
    whole = ", ".join(
        f"if(sum(weight_{side}) > 0, sum(log_loss_{side} * weight_{side}) / sum(weight_{side}), NULL)"
        for side in ("run", "against")
    )
    ((windows, differ, mine, theirs),) = answer(
        client, f"{beside} SELECT count(), countIf(NOT equal), {whole} FROM joined", values, settings
    ).rows
    if not windows:
        raise SettingsError(f"run {name}: neither it nor {other or 'live work'} has a window in what it owns")
    shown = answer(
        client,
        f"{beside} SELECT * EXCEPT (weight_run, weight_against) FROM joined "
        f"ORDER BY equal, model, shard, window_start LIMIT {rows}",
        values,
        settings,
    )
    return ModelComparison(name, against, windows, differ, (mine, theirs), shown)


def learned_span(client: Client, run: str) -> tuple[int, int]:
    """From the first to the last whole minute of the windows a run of models has measured; of those that live work has
    measured too, if any: where learning ends, live work's last window may still be open. (0, 0) without a window."""
    windows = "SELECT window_start, window_end FROM model_metric_rows FINAL WHERE slice = 'all' AND run = "
    for more in (f"AND (window_start, window_end) IN ({windows}'')", ""):
        rows = answer(
            client,
            f"SELECT toUnixTimestamp(toDateTime(min(window_start), 'UTC')), "
            f"toUnixTimestamp(toDateTime(max(window_end), 'UTC')), count() FROM ({windows} {{run:String}} {more})",
            {"run": run},
            READING,
        ).rows
        first_s, last_s, found = rows[0]
        if found:
            return -(-first_s // 60) * 60_000, last_s // 60 * 60_000
    return 0, 0
