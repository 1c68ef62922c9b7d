"""`clickfold learn`: measures, predictions and refused lines of files, at once and with labels that come late."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from schemas.errors import SettingsError
from streams.cli.bench.learn import learn as bench_learn
from streams.cli.commands.learn import learn
from tests.models.clicks import examples

app = typer.Typer()
app.command()(learn)
KEYS = {
    *("rows", "clicks", "ne", "ne_second_half", "log_loss", "auc", "calibration"),
    *("rows_per_s", "rows_per_s_second_half"),
}


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    path = tmp_path / "outcomes.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in examples(2_500)))
    return path


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(result.exception, SettingsError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def report(*arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json")[0])
    return found


def test_json_has_the_measures_the_slices_and_the_weight_of_opinions(outcomes: Path) -> None:
    found = report(outcomes, "--slices", "campaign_id,device")
    assert found.keys() >= KEYS
    assert (found["rows"], found["refused"]) == (2_500, [])
    assert 0.5 < found["ne"] < 1.0
    assert sum(each["rows"] for each in found["slices"]["campaign_id"].values()) == 2_500
    assert found["slices"]["device"].keys() == {"phone"}
    assert sum(found["experts"].values()) == pytest.approx(1.0)


def test_packed_and_plain_files_and_any_parts_give_the_same(outcomes: Path, tmp_path: Path) -> None:
    whole = outcomes.read_bytes().splitlines(keepends=True)
    parts = [tmp_path / "one.jsonl.gz", tmp_path / "two.jsonl"]
    parts[0].write_bytes(gzip.compress(b"".join(whole[:1_234])))
    parts[1].write_bytes(b"".join(whole[1_234:]))
    assert report(*parts)["digest"] == report(outcomes)["digest"]


def test_predictions_are_written_in_order_with_the_ids(outcomes: Path, tmp_path: Path) -> None:
    written = tmp_path / "predictions.jsonl"
    run(outcomes, "--predictions", written)
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["impression_id"] for line in lines] == [f"i{number}" for number in range(2_500)]
    assert all(0.0 < line["p"] < 1.0 for line in lines)


def test_labels_that_come_late_are_learned_late(outcomes: Path) -> None:
    at_once, late = report(outcomes), report(outcomes, "--delay", "10m")
    assert at_once["ne"] < late["ne"]
    # Longer than the whole file: nothing is learned, so every row is predicted at the prior.
    assert report(outcomes, "--delay", "2h")["auc"] == 0.5


def test_lines_that_are_no_outcomes_are_counted_and_named_by_file_and_line(outcomes: Path) -> None:
    lines = outcomes.read_bytes().splitlines()
    lines[4:4] = [b'{"kind":"orphan","impression_id":"x"}', b"no json", lines[0].replace(b'"ts":1', b'"ts":-1')]
    outcomes.write_bytes(b"\n".join(lines))
    found = report(outcomes)
    assert (found["rows"], found["without_label"]) == (2_500, 1)
    assert [(each["lines"], each["first"]) for each in found["refused"]] == [
        (1, f"{outcomes} line 6"),
        (1, f"{outcomes} line 7"),
    ]
    text, errors = run(outcomes)
    assert "2,500 rows" in text
    assert "2 lines are no outcomes" in errors


def test_a_file_without_any_labelled_line_ends_with_code_3(tmp_path: Path) -> None:
    path = tmp_path / "orphans.jsonl"
    path.write_bytes(b'{"kind":"orphan","impression_id":"x"}\n')
    run(path, code=3)


def test_impressions_in_place_of_outcomes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "impressions.jsonl"
    path.write_bytes(b'{"impression_id":"i","ts":1700000000000,"campaign_id":"c","creative_id":"k","price_micros":1}\n')
    with pytest.raises(SettingsError, match="fold --impressions IMPRESSIONS --clicks CLICKS > OUTCOMES"):
        run(path)


def test_a_weight_out_of_bounds_is_said_as_such(outcomes: Path) -> None:
    first = json.loads(outcomes.read_bytes().splitlines()[0])
    outcomes.write_bytes(outcomes.read_bytes() + json.dumps({**first, "weight": -1}).encode() + b"\n")
    (refused,) = report(outcomes)["refused"]
    assert "cannot be used: weight is -1" in refused["detail"]


def test_a_slice_that_is_no_field_is_refused(outcomes: Path) -> None:
    with pytest.raises(SettingsError, match="'user_id'"):
        run(outcomes, "--slices", "user_id")


def test_ftrl_alone_is_one_opinion_and_the_mixture_is_better(outcomes: Path) -> None:
    alone = report(outcomes, "--model", "ftrl")
    assert alone["experts"] == {"ftrl": 1.0}
    assert report(outcomes)["ne"] < alone["ne"]


def test_the_benchmark_times_each_model_and_names_what_is_missing(outcomes: Path) -> None:
    timed = typer.Typer()
    timed.command()(bench_learn)
    result = CliRunner().invoke(timed, [str(outcomes), "--rows", "1000", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["rows_per_cpu_s"].keys() >= {
        *("reading alone", "ftrl", "mixture", "worker", "worker, ftrl", "8 challengers", "river")
    }
    for name in ("vw linear", "vw -q ::", "vw, Python"):
        assert ("vowpalwabbit" in found["missing"]) == (name not in found["rows_per_cpu_s"])


def test_a_disk_that_takes_no_predictions_is_one_sentence(outcomes: Path) -> None:
    with pytest.raises(SettingsError, match=r"predictions file /dev/full cannot be written: No space left on device"):
        run(outcomes, "--predictions", "/dev/full")


def test_a_log_that_is_newest_first_is_said(outcomes: Path, tmp_path: Path) -> None:
    newest_first = tmp_path / "newest_first.jsonl"
    newest_first.write_bytes(b"\n".join(reversed(outcomes.read_bytes().splitlines())) + b"\n")
    assert "newest first; sort it by ts" in run(newest_first)[1]
    assert "newest first" not in run(outcomes)[1]


def test_the_remedy_for_a_packed_file_is_a_command_that_exists_whatever_the_name(tmp_path: Path) -> None:
    packed = tmp_path / "INPUT LOG.xz"
    packed.write_bytes(b"\xfd7zXZ\x00" + bytes(64))
    with pytest.raises(SettingsError) as refused:
        run(packed)
    assert str(refused.value).endswith("INPUT LOG.xz' | clickfold learn -`")


@pytest.mark.parametrize(("refused", "code"), [(2_500, 0), (2_501, 3)])
def test_a_log_of_which_more_than_half_is_refused_ends_with_code_3(outcomes: Path, refused: int, code: int) -> None:
    outcomes.write_bytes(outcomes.read_bytes() + b"no json\n" * refused)
    errors = run(outcomes, code=code)[1]
    assert ("2,501 of 5,001 outcomes are late or refused, more than half" in errors) == (code == 3)
