"""What a sink's operator sees, under names that say the unit."""

from streams.sink.settings import Progress
from streams.worker.metrics import sink_metrics


def test_a_lag_that_is_not_known_is_not_shown() -> None:
    shown = [sample.name for metric in sink_metrics(Progress(lag=-1)) for sample in metric.samples]
    assert "clickfold_sink_lag_records" not in shown
    assert "clickfold_sink_inserts_total" in shown


def test_every_number_of_a_sink_is_a_metric_whose_name_says_its_unit() -> None:
    progress = Progress(
        rows_written={"minute_totals": 7, "outcome_rows": 8},
        rejected={"undecodable": 2},
        inserts=3,
        recoveries=2,
        stage_s={"insert": 1.5},
        stage_cpu_s={"insert": 0.5},
        retried={"TOO_MANY_PARTS": 4, "connection": 1},
        waited_s=12.5,
        rows_held=5,
        bytes_held=600,
        held_s=0.75,
        paused=True,
        lag=9,
        last_commit_ms=1_700_000_000_500,
        shared_clicks=4,
    )
    samples = [sample for metric in sink_metrics(progress) for sample in metric.samples]
    found = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert found == {
        ("clickfold_sink_rows_total", "minute_totals"): 7,
        ("clickfold_sink_rows_total", "outcome_rows"): 8,
        ("clickfold_sink_rejected_total", "undecodable"): 2,
        ("clickfold_recoveries_total",): 2,
        ("clickfold_sink_inserts_total",): 3,
        ("clickfold_sink_retries_total", "TOO_MANY_PARTS"): 4,
        ("clickfold_sink_retries_total", "connection"): 1,
        ("clickfold_sink_waiting_seconds_total",): 12.5,
        ("clickfold_sink_stage_seconds_total", "insert"): 1.5,
        ("clickfold_sink_stage_cpu_seconds_total", "insert"): 0.5,
        ("clickfold_sink_rows_held",): 5,
        ("clickfold_sink_held_bytes",): 600,
        ("clickfold_sink_batch_age_seconds",): 0.75,
        ("clickfold_sink_paused",): 1,
        ("clickfold_sink_lag_records",): 9,
        ("clickfold_sink_shared_clicks",): 4,
        ("clickfold_sink_last_commit_seconds",): 1_700_000_000.5,
    }
