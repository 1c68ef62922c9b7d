"""`clickfold map` and `--map` as a user runs them: from files of other forms to outcomes, or to what is wrong."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from schemas.errors import SettingsError
from streams.cli.commands.options import event_speed
from streams.cli.reading_bar import ReadingBar, bar
from streams.inputs.files import FileLog
from streams.mapping.ready import ready_names
from tests.factories import T0
from tests.mapped import in_format
from tests.test_fold_command import Done, run_here
from tests.test_fold_input import Terminal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CLICK = {"click_id": "k1", "impression_id": "i1", "ts": T0 + 1_000}


def impression(**changes: Any) -> dict[str, Any]:
    return {
        "impression_id": "i1",
        "ts": T0,
        "campaign_id": "c1",
        "creative_id": "x1",
        "price_micros": 500_000,
    } | changes


def written(folder: Path, name: str, *records: Any) -> Path:
    path = folder / name
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


def last(done: Done) -> Any:
    return orjson.loads(done.err.splitlines()[-1])


# As they were found in public files: seconds, microseconds, ISO 8601, digits of a date, floats, numbers as ids, objects
# within objects, amounts in units under two names.
CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "epoch seconds": ([impression(ts=T0 // 1_000)], [CLICK | {"ts": T0 // 1_000 + 1}]),
    "epoch microseconds": ([impression(ts=T0 * 1_000)], [CLICK | {"ts": T0 * 1_000 + 5}]),
    "ISO 8601": (
        [impression(ts="2023-11-14T22:13:20.000Z"), impression(impression_id="i2", ts="2023-11-14 22:13:20.123")],
        [CLICK | {"ts": "2023-11-14T22:13:25.000Z"}],
    ),
    "digits of a date": ([impression(ts=20130311172101557)], [CLICK | {"ts": 20130311172105557}]),
    "floats": ([impression(ts=1.7e12, price_micros=500_000.0)], [CLICK | {"ts": T0 + 0.5}, CLICK | {"ts": 1.7e12}]),
    "numeric ids": (
        [impression(impression_id=4060741400040636189), impression(impression_id="i2", campaign_id=73876543)],
        [CLICK | {"impression_id": 4060741400040636189}],
    ),
    "nested": (
        [{"schema": "x", "data": impression(price_micros=1)}, {"id": "80ce", "at": 1, "imp": [{"id": "1"}]}],
        [CLICK],
    ),
    "units under two names": (
        [impression(price_micros=0.35), {**impression(impression_id="i2"), "price_micros": None, "cpc": "0.35"}],
        [CLICK, CLICK | {"click_id": "k2", "impression_id": "i2"}],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_mapping_that_is_guessed_gives_outcomes_and_without_it_the_files_are_refused(
    tmp_path: Path, case: str
) -> None:
    impressions, clicks = CASES[case]
    files = written(tmp_path, "impressions.jsonl", *impressions), written(tmp_path, "clicks.jsonl", *clicks)
    given = ("--impressions", files[0], "--clicks", files[1])
    if case != "floats":
        assert run_here(*given).code == 3
    guessed = tmp_path / "guessed.toml"
    assert run_here("guess", *files, "-o", guessed, command="map").code == 0
    done = run_here(*given, "--map", guessed)
    assert done.code == 0, done.err.decode()
    assert last(done)["clicks"]["billable"] == len({click["impression_id"] for click in clicks})
    if case == "units under two names":
        assert {orjson.loads(line)["price_micros"] for line in done.out.splitlines()} == {350_000}
    if case == "nested":
        refused = (
            f"  1 by the mapping, first {files[0]} line 2: {guessed} line 5, impression_id: there is no data.impre"
        )
        assert refused in done.err.decode()
        assert last(done)["impressions"]["rejected"] == 1


SHOWN = impression(impression_id="i1"), impression(impression_id="i2", ts=T0 + 10)
_TEXT = orjson.dumps(SHOWN[0]), orjson.dumps(SHOWN[1])
# As they were found: what shells of Windows redirect, what interfaces answer, what Kinesis Firehose writes.
FORMS: dict[str, Callable[[], bytes]] = {
    "CSV": lambda: in_format(list(SHOWN), "csv"),
    "Parquet": lambda: in_format(list(SHOWN), "parquet"),
    "Avro": lambda: in_format(list(SHOWN), "avro"),
    "zstd": lambda: zstd.compress(b"\n".join(_TEXT)),
    "UTF-16 with a mark and CR LF": lambda: b"\xff\xfe" + b"\r\n".join(_TEXT).decode().encode("utf-16-le"),
    "an array over lines": lambda: orjson.dumps(SHOWN, option=orjson.OPT_INDENT_2),
    "objects without a line end": lambda: b"".join(_TEXT),
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_every_form_that_was_found_are_read_without_a_mapping(tmp_path: Path, form: str) -> None:
    path = tmp_path / "impressions"
    path.write_bytes(FORMS[form]())
    done = run_here("--impressions", path, "--clicks", written(tmp_path, "clicks.jsonl", CLICK))
    assert done.code == 0, done.err.decode()
    counts = last(done)
    assert (counts["impressions"]["accepted"], counts["clicks"]["billable"]) == (2, 1)


def test_tables_of_other_names_and_times_from_zero_are_guessed(tmp_path: Path) -> None:
    impressions, clicks = tmp_path / "impressions.tsv", tmp_path / "clicks.tsv"
    impressions.write_text(
        "timestamp\tuid\tcampaign\tclick\tcost\n0\t20073966\t22589171\t1\t1e-05\n2\t246\t88\t0\t1e-05\n"
    )
    clicks.write_text("timestamp\tuid\n3\t20073966\n")
    refused = run_here("--impressions", impressions, "--clicks", clicks)
    assert refused.code == 2
    assert b"has no column impression_id; it has timestamp, uid, campaign, click, cost" in refused.err
    guessed = tmp_path / "guessed.toml"
    run_here("guess", impressions, clicks, "-o", guessed, command="map")
    assert "GUESS: counts from 0, of which the origin is not known" in guessed.read_text()
    done = run_here("--impressions", impressions, "--clicks", clicks, "--map", guessed)
    (click, *_) = [orjson.loads(line) for line in done.out.splitlines()]
    assert (click["kind"], click["price_micros"], click["delay_ms"]) == ("click", 10, 3_000)


@pytest.mark.parametrize("way", ["events", "labels"])
def test_one_file_with_both_inputs_is_guessed_by_the_column_that_tells_them_apart(tmp_path: Path, way: str) -> None:
    if way == "events":
        records = [
            {
                "event": "ad_impression",
                "ad": {"imp_id": f"i{n}"},
                "time": T0 // 1_000 + n,
                "cid": 7,
                "crid": 9,
                "cpc": 0.5,
            }
            for n in range(20)
        ]
        records += [{"event": "ad_click", "ad": {"imp_id": "i3"}, "time": T0 // 1_000 + 30}, {"event": "page"}]
    else:
        records = [
            {"id": f"i{n}", "click": n % 20 == 3, "hour": 14102100, "cid": "c", "crid": n % 3, "price": 5}
            for n in range(20)
        ]
    path, guessed = written(tmp_path, "events.jsonl", *records), tmp_path / "guessed.toml"
    run_here("guess", path, "-o", guessed, command="map")
    given = ("--impressions", path, "--clicks", path)
    done = run_here(*given, "--map", guessed)
    assert done.code == 0, done.err.decode() + guessed.read_text()
    counts = last(done)
    assert (counts["impressions"]["accepted"], counts["clicks"]["billable"]) == (20, 1)
    others = 2 if way == "events" else 0
    assert (f"note: {others} records are no impressions by the conditions of the mapping" in done.err.decode()) == bool(
        others
    )


def test_a_guess_names_what_it_could_not_find_and_is_still_a_mapping(tmp_path: Path) -> None:
    path = written(tmp_path, "x.jsonl", {"a": "soon", "b": True}, {"a": "later", "b": False})
    done = run_here("guess", path, command="map")
    text = done.out.decode()
    assert "GUESS FAILED" in text
    assert "campaign_id = { constant" in text
    guessed = tmp_path / "m.toml"
    guessed.write_text(text)
    clicks = written(tmp_path, "clicks.jsonl", CLICK)
    refused = run_here("check", "--impressions", path, "--clicks", clicks, "--map", guessed, command="map")
    assert refused.code == 2
    assert b'"soon" is no number' in refused.err


@pytest.fixture
def seconds(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Logs in seconds of which nine of ten clicks join, 1 to 9 seconds later, and their mapping."""
    shown = [impression(impression_id=f"i{n}", ts=T0 // 1_000 + n) for n in range(10)]
    shown[4]["price_micros"] = -1
    clicked = [CLICK | {"click_id": f"k{n}", "impression_id": f"i{n}", "ts": T0 // 1_000 + 2 * n} for n in range(10)]
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        """[impressions]
impression_id = "impression_id"
ts = { path = "ts", unit = "s" }
campaign_id = "campaign_id"
creative_id = "creative_id"
price_micros = "price_micros"
[clicks]
click_id = "click_id"
impression_id = "impression_id"
ts = { path = "ts", unit = "s" }
"""
    )
    return written(tmp_path, "i.jsonl", *shown), written(tmp_path, "c.jsonl", *clicked), mapping


def test_check_shows_examples_what_joins_how_late_and_what_to_set(seconds: tuple[Path, Path, Path]) -> None:
    impressions, clicks, mapping = seconds
    given = ("check", "--impressions", impressions, "--clicks", clicks, "--map", mapping)
    done = run_here(*given, command="map")
    assert done.code == 0
    shown = done.out.decode()
    assert "impressions: 9 accepted, 1 refused" in shown
    refused = f"first {impressions} line 5: {mapping} line 6, price_micros: -1 is below 0"
    assert f"refused 1 by the mapping, {refused}" in shown
    assert "joined: 9 of 10 clicks, 90.0%" in shown
    assert "delay of clicks: 50.0% 5.000 s, 90.0% 9.000 s" in shown
    assert "suggested: --window 10s --skew 1s --lateness 1s" in shown
    found = orjson.loads(run_here(*given, "--json", command="map").out)
    assert found["joined_share"] == 0.9
    assert found["suggested"] == {"--window": "10s", "--skew": "1s", "--lateness": "1s"}
    few = orjson.loads(run_here(*given, "--json", "--sample", 3, command="map").out)
    assert few["impressions"]["accepted"] == few["clicks"]["accepted"] == 3


def test_check_ends_with_code_3_when_nothing_joins(seconds: tuple[Path, Path, Path], tmp_path: Path) -> None:
    impressions, _, mapping = seconds
    clicks = written(tmp_path, "other.jsonl", CLICK | {"impression_id": "none", "ts": T0 // 1_000})
    done = run_here("check", "--impressions", impressions, "--clicks", clicks, "--map", mapping, command="map")
    assert done.code == 3
    assert b"no click matches an impression, of 1 accepted ones" in done.err


@pytest.mark.parametrize("command", ["fold", "map"])
def test_a_mapping_of_other_files_is_refused_before_a_record_is_decided(
    seconds: tuple[Path, Path, Path], command: str
) -> None:
    impressions, clicks, mapping = seconds
    text = mapping.read_text()
    mapping.write_text(text.replace('unit = "s"', 'unit = "ms"', 1).replace('"campaign_id"', '"campaign"'))
    given = ("--impressions", impressions, "--clicks", clicks, "--map", mapping)
    done = run_here(*(("check", *given) if command == "map" else given), command=command)
    assert (done.code, done.out) == (2, b"")
    assert f'{mapping} line 3, ts: {T0 // 1_000} as ms is the year 1970; unit = "s" gives' in done.err.decode()
    assert f"{mapping} line 4, campaign_id: the path matches nothing" in done.err.decode()


def test_outcomes_of_every_format_under_a_mapping_are_equal(seconds: tuple[Path, Path, Path], tmp_path: Path) -> None:
    impressions, clicks, mapping = seconds
    rows = [orjson.loads(line) for line in impressions.read_bytes().splitlines()]
    expected = run_here("--impressions", impressions, "--clicks", clicks, "--map", mapping).out
    assert expected.count(b"\n") == 10
    for kind in ("json", "csv", "parquet", "orc", "arrow", "stream", "avro"):
        other = tmp_path / f"i.{kind}"
        other.write_bytes(in_format(rows, kind))
        assert run_here("--impressions", other, "--clicks", clicks, "--map", mapping).out == expected


def test_check_names_optional_rules_that_found_nothing(tmp_path: Path) -> None:
    impressions = written(tmp_path, "i.jsonl", *[impression(land="DE", os={"name": "ios"})] * 3)
    clicks, mapping = written(tmp_path, "c.jsonl", CLICK), tmp_path / "m.toml"
    rules = "".join(f'{name} = "{name}"\n' for name in impression())
    mapping.write_text(
        f'[impressions]\n{rules}country = {{ path = "country", optional = true }}\n'
        'device = { path = "land", optional = true }\n[impressions.features]\n'
        'os = { path = "os.name", optional = true }\nmodel = { path = "os.model", optional = true }\n'
    )
    said = run_here("check", "--impressions", impressions, "--clicks", clicks, "--map", mapping, command="map")
    assert said.code == 0
    nothing = "the rule is optional, so look whether it is right"
    found = [line.strip() for line in said.out.decode().splitlines() if nothing in line]
    assert found == [
        f"{mapping} line 7, country: no accepted record has country; {nothing}",
        f"{mapping} line 11, features.model: no accepted record has os.model; {nothing}",
    ]


def test_a_mapping_that_is_nowhere_is_said_with_the_ready_ones(tmp_path: Path) -> None:
    done = run_here("--impressions", "a", "--clicks", "b", "--map", "nowhere")
    assert done.code == 2
    assert f"is no file and no ready mapping; ready ones are {', '.join(ready_names())}".encode() in done.err
    listed = run_here("list", command="map").out.decode()
    assert [line.split()[0] for line in listed.splitlines()] == ready_names()
    assert run_here("show", "avazu", command="map").out.startswith(b"# Avazu")
    assert b"there is no ready mapping 'x'" in run_here("show", "x", command="map").err
    missing = run_here("guess", tmp_path / "a", tmp_path / "b", tmp_path / "c", command="map")
    assert b"3 files are given; give one that has both inputs, or one of each" in missing.err


def test_one_file_is_both_logs_only_where_the_mapping_tells_them_apart(
    seconds: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    impressions, _, mapping = seconds
    half = tmp_path / "half.toml"
    half.write_text(mapping.read_text().partition("[clicks]")[0])
    for given in ((), ("--map", half)):
        done = run_here("--impressions", impressions, "--clicks", impressions, *given)
        assert b"is given both as --impressions and as --clicks" in done.err


def test_standard_input_is_both_logs_where_the_mapping_tells_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [{"e": "show", **impression()}, {"e": "click", **CLICK}, {"e": "show", **impression(impression_id="i2")}]
    path, mapping = written(tmp_path, "events.jsonl", *records), tmp_path / "m.toml"
    shown = "".join(f'{name} = "{name}"\n' for name in impression())
    clicked = "".join(f'{name} = "{name}"\n' for name in CLICK)
    mapping.write_text(
        f'[impressions]\n{shown}[impressions.where]\ne = "show"\n[clicks]\n{clicked}[clicks.where]\ne = "click"\n'
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    done = run_here("--impressions", "-", "--clicks", "-", "--map", mapping)
    assert done.code == 0, done.err.decode()
    assert (last(done)["impressions"]["accepted"], last(done)["clicks"]["billable"]) == (2, 1)


@pytest.mark.parametrize(("text", "speed"), [("1x", 1.0), ("60x", 60.0), ("10000", 10_000.0), ("max", None)])
def test_a_speed_is_a_multiple_of_real_time_or_max(text: str, speed: float | None) -> None:
    assert event_speed(text, 5.0) == speed
    assert event_speed("", 5.0) == 5.0
    with pytest.raises(SettingsError, match="--speed is 'fast'; give event seconds a second, such as 1x"):
        event_speed("fast", None)


def test_a_bar_is_drawn_on_a_terminal_alone_and_its_line_is_cleared(tmp_path: Path) -> None:
    log = FileLog([written(tmp_path, "i.jsonl", *[impression()] * 5)], "impressions")
    for stderr, stdout, drawn in (
        (Terminal(io.BytesIO()), io.TextIOWrapper(io.BytesIO()), True),
        (io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO()), False),
        (Terminal(io.BytesIO()), Terminal(io.BytesIO()), False),
    ):
        with (
            patch("sys.stderr", stderr),
            patch("sys.stdout", stdout),
            patch("streams.cli.reading_bar._REDRAW_EVERY_S", 0),
        ):
            with ReadingBar([log]) as shown:
                list(log.records())
                shown.show()
            stderr.flush()
        text = stderr.buffer.getvalue().decode()  # type: ignore[attr-defined]  # it is in memory
        assert (bar(1.0) in text) == (text.endswith("\r\x1b[K")) == drawn
    assert bar(0.5) == "█" * 15 + "░" * 15
