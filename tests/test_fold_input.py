"""`clickfold fold` on input that is not what it wants: what it says, and with which code it ends."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import orjson
import pytest

from schemas.rejects import Reason, rejected
from streams.inputs.files import FileLog
from streams.inputs.left_out import LeftOut
from streams.inputs.tally import located
from tests.factories import T0, click_json, impression_json
from tests.test_fold_command import Done, run_here

NEWEST_FIRST = [T0 + number * 60_000 for number in reversed(range(20))]


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def files(folder: Path, impressions: Iterable[bytes], clicks: Iterable[bytes]) -> list[object]:
    """The options that name files with these lines."""
    for name, lines in (("impressions", impressions), ("clicks", clicks)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return ["--impressions", folder / "impressions.jsonl", "--clicks", folder / "clicks.jsonl"]


def said(done: Done) -> str:
    """Standard error without its last line, the counts."""
    return "\n".join(done.err.decode().splitlines()[:-1])


def test_refused_records_are_listed_by_reason_with_the_first_line_and_value(tmp_path: Path) -> None:
    bad = [impression_json("x", 1_700_000_000 + number) for number in range(3)]
    good = [impression_json(f"i{number}", T0) for number in range(9)]
    done = run_here(*files(tmp_path, [*good, *bad, impression_json(7, T0)], [click_json("k", "i1")]))
    assert done.code == 0
    first, seconds, number = said(done).splitlines()
    assert first == "impressions: 4 of 13 late or refused"
    assert seconds.startswith(f"  3 undecodable, first {tmp_path}/impressions.jsonl line 10: ts 1700000000 looks like")
    assert number.startswith(
        f"  1 undecodable, first {tmp_path}/impressions.jsonl line 13: impression_id 7 is a number"
    )


def test_a_record_refused_at_the_end_of_its_log_is_listed_too(tmp_path: Path) -> None:
    """A log of fewer than ten records is decided as a whole when it ends."""
    twins = [impression_json("1", T0), impression_json("1", T0 + 500)]
    others = [impression_json("2", 4_070_908_800_000), impression_json("3", T0)]
    done = run_here(*files(tmp_path, [*twins, *others], [click_json("k", "1", T0)]))
    counts, conflict, future = said(done).splitlines()
    assert counts == "impressions: 2 of 4 late or refused"
    assert conflict.startswith(f"  1 conflict, first {tmp_path}/impressions.jsonl line 2: ")
    assert future.startswith(f"  1 future, first {tmp_path}/impressions.jsonl line 3: ")


@pytest.mark.parametrize(
    ("features", "count", "first"),
    [
        ({"w": 1, "age": None}, "4 features are", '"age" is null'),
        ({"tags": ["a"]}, "4 features are", '"tags" is ["a"]'),
        ({"big": 2**63}, "4 features are", '"big" is 9223372036854775808'),
        ({"text": "x" * 2_000}, "4 features are", f'"text" is "{"x" * 59}…, 2,000 characters'),
        ({f"f{number}": 1 for number in range(258)}, "5 features are", '"f256", behind 256 others'),
        (["a"], "4 features are", 'features is ["a"], no object'),
    ],
)
def test_features_that_no_model_can_use_are_counted_and_the_first_is_named(
    tmp_path: Path, features: object, count: str, first: str
) -> None:
    others = [{"a": None}, {"b": []}, {"c": {}}, {"ok": 1}]
    impressions = [impression_json("i0", T0), impression_json("i1", T0, features=features)]
    impressions += [impression_json(f"j{row}", T0, features=given) for row, given in enumerate(others)]
    given = files(tmp_path, impressions, [click_json("k", "i1", T0)])
    done = run_here(*given)
    assert said(done) == (
        f"impressions: {count} left out, first {given[1]} line 2: {first}; a model takes strings of up to 1,024 "
        "characters, booleans and numbers of 64 bits, at most 256 an impression"
    )
    assert orjson.loads(done.err.splitlines()[-1])["impressions"]["accepted"] == len(impressions)
    all_lines, log = LeftOut(), FileLog([Path(str(given[1]))], "impressions")
    all_lines.look(log.lines(), all_lines=True)
    assert all_lines.sentence(log) == said(done)


def test_good_input_says_nothing_but_its_counts(tmp_path: Path) -> None:
    done = run_here(*files(tmp_path, [impression_json("i", T0)], [click_json("k", "i", T0)]))
    assert (done.code, said(done)) == (0, "")


@pytest.mark.parametrize(
    ("impressions", "clicks", "fault"),
    [
        ([impression_json("i", 1_700_000_000)], [], "no record of impressions was accepted, of 1"),
        ([impression_json("i", T0)], [click_json("k", "i", 5)], "no record of clicks was accepted, of 1"),
        ([impression_json("i", T0)], [click_json("k", "j", T0)], "no click matches an impression, of 1 accepted"),
        ([], [click_json("k", "j", T0)], "there are 1 clicks and no impressions"),
        (
            [impression_json("i", T0), *[impression_json("j", T0 - 120_001)] * 2],
            [click_json("k", "i", T0)],
            "2 of 3 impressions are late or refused, more than half",
        ),
    ],
)
def test_a_result_that_cannot_be_used_ends_with_code_3(
    tmp_path: Path, impressions: list[bytes], clicks: list[bytes], fault: str
) -> None:
    done = run_here(*files(tmp_path, impressions, clicks))
    assert done.code == 3
    assert f"clickfold: {fault}" in said(done)
    assert list(orjson.loads(done.err.splitlines()[-1])) == ["impressions", "clicks"]


def test_half_of_a_log_refused_and_an_empty_clicks_file_are_no_fault(tmp_path: Path) -> None:
    half = [impression_json("i", T0), impression_json("j", 5)]
    assert run_here(*files(tmp_path, half, [click_json("k", "i", T0)])).code == 0
    assert run_here(*files(tmp_path, [impression_json("i", T0)], [])).code == 0


def test_a_log_that_is_newest_first_is_named_with_its_remedies(tmp_path: Path) -> None:
    impressions = [impression_json(f"i{ts}", ts) for ts in NEWEST_FIRST]
    clicks = [click_json(f"k{ts}", f"i{ts}", ts + 1) for ts in NEWEST_FIRST]
    given = files(tmp_path, impressions, clicks)
    done = run_here(*given)
    assert done.code == 3
    assert "17 impressions are late: the log is not in the order of time but newest first; sort it" in said(done)
    assert "give --lateness 1140s" in said(done)
    assert run_here(*given, "--lateness", "1140s").code == 0


def test_late_records_name_the_line_that_is_ahead_and_the_lateness_that_takes_them(tmp_path: Path) -> None:
    """A record that is refused as `future` moved no watermark, so it does not count for the lateness."""
    ahead = impression_json("f", T0 + 365 * 86_400_000)
    old = [impression_json("o", T0 - 1_000_000), impression_json("p", T0 - 3_000_000)]
    given = files(tmp_path, [ahead, *(impression_json(f"i{n}", T0 + n) for n in range(20)), *old], [])
    done = run_here(*given)
    late, future, order = said(done).splitlines()[1:]
    assert late.startswith(
        f"  2 late, first {given[1]} line 22: ts {T0 - 1_000_000} was below the watermark of its log: "
    )
    assert f"log: {given[1]} line 21, with ts {T0 + 19}, is 1000019 ms ahead of it" in late
    assert future.startswith(f"  1 future, first {given[1]} line 1: ")
    assert order.endswith("sort it by ts, or give --lateness 3001s")
    again = run_here(*given, "--lateness", "3001s")
    assert orjson.loads(again.err.splitlines()[-1])["impressions"]["late"] == 0
    one = run_here(*files(tmp_path, [impression_json("i", T0), impression_json("o", T0 - 1_000_000)], []))
    assert "  1 impression is late: " in said(one)


@pytest.mark.parametrize("place", [0, 9])
def test_one_clock_ahead_by_less_than_the_jump_is_named_with_a_jump_that_finds_it(tmp_path: Path, place: int) -> None:
    impressions = [impression_json(f"i{n}", T0 + n * 1_000) for n in range(40)]
    impressions.insert(place, impression_json("fast", T0 + 3_600_000))
    given = files(tmp_path, impressions, [])
    remedy = said(run_here(*given)).splitlines()[2]
    assert f"All are behind {given[1]} line {place + 1}: if its clock is wrong, give --jump 1780s" in remedy
    again = orjson.loads(run_here(*given, "--jump", "1780s").err.splitlines()[-1])["impressions"]
    assert (again["accepted"], again["rejected"], again["late"]) == (40, 1, 0)


def test_several_files_are_one_log_in_the_order_given(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + impression_json("a", T0) + b"\n" + b"{}\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + impression_json("b", T0 + 1)))
    (tmp_path / "clicks.jsonl").write_bytes(click_json("k", "a", T0) + b"\n" + click_json("l", "b", T0 + 1))
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl.gz")]
    done = run_here("--impressions", *paths, "--clicks", tmp_path / "clicks.jsonl")
    assert done.code == 0
    counts = orjson.loads(done.err.splitlines()[-1])
    assert (counts["impressions"]["accepted"], counts["clicks"]["billable"]) == (2, 2)
    assert f"first {tmp_path}/a.jsonl line 2: impression_id is missing" in said(done)


def test_a_file_that_begins_before_the_one_in_front_of_it_ended_is_named(tmp_path: Path) -> None:
    for name, start in (("b", T0 + 60_000), ("a", T0)):
        lines = [impression_json(f"{name}{number}", start + number) for number in range(3)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(lines))
    clicks = tmp_path / "clicks.jsonl"
    clicks.write_bytes(click_json("k", "a1", T0 + 1))
    backwards = run_here("--impressions", tmp_path / "b.jsonl", tmp_path / "a.jsonl", "--clicks", clicks)
    assert backwards.code == 0
    assert f"note: {tmp_path}/a.jsonl begins at 2023-11-14 22:13:20Z, before {tmp_path}/b.jsonl" in said(backwards)
    assert said(run_here("--impressions", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--clicks", clicks)) == ""


def test_a_file_given_twice_or_as_both_logs_is_refused(tmp_path: Path) -> None:
    given = files(tmp_path, [impression_json("i", T0)], [click_json("k", "i", T0)])
    both = run_here("--impressions", *(given[1], given[3]), "--clicks", given[3])
    assert both.code == 2
    assert b"clicks.jsonl is given both as --impressions and as --clicks; leave it out of one" in both.err
    twice = run_here("--impressions", given[1], given[1], "--clicks", given[3])
    assert twice.code == 2
    assert b"is given twice" in twice.err
    other = tmp_path / "more-clicks.jsonl"
    other.write_bytes(click_json("l", "i", T0))
    mixed = run_here("--impressions", given[1], other, "--clicks", given[3])
    assert mixed.code == 2
    assert b"more-clicks.jsonl is a file of clicks" in mixed.err


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_is_a_log(tmp_path: Path, packed: bool) -> None:
    lines = b"".join(impression_json(f"i{number}", T0 + number) + b"\n" for number in range(5_000))
    clicks = tmp_path / "clicks.jsonl"
    clicks.write_bytes(click_json("k", "i4999", T0 + 4_999))
    command = [sys.executable, "-m", "streams.cli", "fold", "--impressions", "-", "--clicks", str(clicks)]
    data = gzip.compress(lines) if packed else lines
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    counts = orjson.loads(done.stderr.splitlines()[-1])
    assert (counts["impressions"]["accepted"], counts["clicks"]["billable"]) == (5_000, 1)


def test_a_value_of_a_record_cannot_control_the_terminal(tmp_path: Path) -> None:
    line = impression_json("i", T0, price_micros="\x1b[2J\u202e")
    done = run_here(*files(tmp_path, [line], []))
    assert "\\u001b[2J\\u202e" in said(done)
    assert not {"\x1b", "\u202e"} & set(said(done))


def test_outcomes_on_a_terminal_are_the_same_json_without_control_characters(tmp_path: Path) -> None:
    given = files(tmp_path, [impression_json("i\u202e\x9b", T0)], [])
    plain = run_here(*given)
    with patch("io.TextIOWrapper", Terminal):
        shown = run_here(*given)
    assert orjson.loads(shown.out) == orjson.loads(plain.out)
    assert not {"\u202e", "\x9b"} & set(shown.out.decode())


def test_demo_starts_nothing_when_no_record_of_a_log_can_be_used(tmp_path: Path) -> None:
    given = files(tmp_path, [impression_json("i", 1_700_000_000)] * 2, [click_json("k", "i", T0)])
    done = run_here(*given, command="demo")
    assert done.code == 3
    assert done.err.decode().splitlines() == [
        "impressions: 2 of 2 late or refused",
        f"  2 undecodable, first {tmp_path}/impressions.jsonl line 1: ts 1700000000 looks like seconds "
        "(2023-11-14T22:13:20Z); clickfold wants milliseconds since 1970: 1700000000000",
        "clickfold: no record of impressions was accepted, of 2",
    ]


def test_dead_letters_are_located_in_the_files_they_came_from(tmp_path: Path) -> None:
    given = files(tmp_path, [impression_json("i", T0), b"{}", b"{}", impression_json("j", 5)], [])
    log = FileLog([Path(str(given[1]))], "impressions")
    letters = [
        rejected(Reason.UNDECODABLE, detail, line, topic="t", partition=3, offset=70, record_ts_ms=-1)
        for line, detail in ((impression_json("j", 5), "at `$.ts`"), (b"{}", "missing"), (b"{}", "missing"))
    ]
    tally = located({"impressions": log}, (("impressions", letter) for letter in letters))
    first, second = tally.lines(log)
    assert first.startswith(f"  2 undecodable, first {given[1]} line 2: ")
    assert second.startswith(f"  1 undecodable, first {given[1]} line 4: ts 5 is below")


def test_a_late_dead_letter_of_kafka_names_no_offset_that_the_files_do_not_have(tmp_path: Path) -> None:
    line = impression_json("i", T0)
    given = files(tmp_path, [line], [])
    log = FileLog([Path(str(given[1]))], "impressions")
    detail = (
        f"ts {T0} was below the watermark of its log: the record at offset 9, with ts {T0 + 5}, is 5 ms ahead of it"
    )
    letter = rejected(Reason.LATE, detail, line, topic="t", partition=3, offset=70, record_ts_ms=-1)
    late, order = located({"impressions": log}, [("impressions", letter)]).lines(log)
    assert late.endswith(f": ts {T0} was below the watermark of its log: a record with ts {T0 + 5} is 5 ms ahead of it")
    assert order.endswith("sort it by ts, or give --lateness 1s")
