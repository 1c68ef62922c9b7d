"""The measures of a run of models and those of live work or another run, window by window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.clickhouse.queries import Table, answer
from schemas.errors import SettingsError
from streams.runs.minutes import READ_SETTINGS, owned_span
from streams.runs.record import ACTIVE, LIVE, known_run

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MEASURES: Final = ("examples", "log_loss", "calibration", "auc")


class ModelComparison(NamedTuple):
    """The comparison of a run of models with another.

    `windows`: how many there are in either. `differ`: how many of them differ or are in one run only. `log_loss`: over
    all windows, of the run and of the other one. `beside`: the measures of both, window by window.
    """

    run: str
    against: str
    windows: int
    differ: int
    log_loss: tuple[float | None, float | None]
    beside: Table

    @property
    def equal(self) -> bool:
        """Whether both runs have all windows, with the same measures."""
        return not self.differ


def compare_models(client: Client, name: str, *, against: str = LIVE, rows: int = 20) -> ModelComparison:
    """Compares the windows that lie wholly in what the run owns, over all outcomes and not by slice.

    At most `rows` windows are listed; those that differ come first. Raises SettingsError for an unknown run, for a run
    that is not of models, and when neither run has a window.
    """
    record = known_run(client, name)
    if record.kind != "models":
        raise SettingsError(f"run {name} is of a join: it has figures by minute and no windows")
    other = LIVE if against == ACTIVE else against
    if other != LIVE:
        known_run(client, other)
    span = owned_span(record)
    # A window that one run does not have has nulls there, so its examples differ.
    sides = ", ".join(f"a.{name} AS {name}_run, b.{name} AS {name}_against" for name in _MEASURES)
    same = " AND ".join(f"isNotDistinctFrom({name}_run, {name}_against)" for name in _MEASURES)
    one_run = """
    SELECT model, shard, window_start, window_end, weight, examples, log_loss, calibration, auc
    FROM model_metric_rows FINAL
    WHERE run = {%s:String} AND slice = 'all'
        AND window_start >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
        AND window_end <= fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
    """
    joined = f"""
    WITH joined AS
    (
        SELECT model, shard, window_start, window_end, {sides}, {same} AS equal,
            a.weight AS weight_run, b.weight AS weight_against
        FROM ({one_run % "run"}) AS a
        FULL OUTER JOIN ({one_run % "against"}) AS b USING (model, shard, window_start, window_end)
    )
    """
    values = {"run": name, "against": other, "from_ms": str(span.from_ms), "to_ms": str(span.to_ms)}
    settings = {**READ_SETTINGS, "join_use_nulls": 1}
    log_losses = ", ".join(
        f"if(sum(weight_{side}) > 0, sum(log_loss_{side} * weight_{side}) / sum(weight_{side}), NULL)"
        for side in ("run", "against")
    )
    ((windows, differ, mine, theirs),) = answer(
        client, f"{joined} SELECT count(), countIf(NOT equal), {log_losses} FROM joined", values, settings
    ).rows
    if not windows:
        raise SettingsError(f"run {name}: neither it nor {other or 'live work'} has a window in the minutes it owns")
    listed = answer(
        client,
        f"{joined} SELECT * EXCEPT (weight_run, weight_against) FROM joined "
        f"ORDER BY equal, model, shard, window_start LIMIT {rows}",
        values,
        settings,
    )
    return ModelComparison(name, against, windows, differ, (mine, theirs), listed)


def learned_span(client: Client, run: str) -> tuple[int, int]:
    """The whole minutes from the first to the last window that a run of models has measured, in ms; (0, 0) without any.

    If live work has measured some of these windows, only those count: a last window that ends with the run's range may
    still be open in live work.
    """
    windows = "SELECT window_start, window_end FROM model_metric_rows FINAL WHERE slice = 'all' AND run = "
    for only_windows in (f"AND (window_start, window_end) IN ({windows}'')", ""):
        rows = answer(
            client,
            f"SELECT toUnixTimestamp(toDateTime(min(window_start), 'UTC')), "
            f"toUnixTimestamp(toDateTime(max(window_end), 'UTC')), count() "
            f"FROM ({windows} {{run:String}} {only_windows})",
            {"run": run},
            READ_SETTINGS,
        ).rows
        first_s, last_s, found = rows[0]
        if found:
            return -(-first_s // 60) * 60_000, last_s // 60 * 60_000
    return 0, 0
