"""`clickfold fold` as a user runs it: what it prints, counts and refuses, held against the batch truth."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import orjson
import pytest
import xxhash

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.outcomes import Outcome
from streams.cli import main
from streams.inputs.files import FileLog
from streams.verify.oracle import Truth, truth
from tests.factories import T0
from tests.factories import click_json as click
from tests.factories import impression_json as impression

BOUNDS = JoinBounds(window_ms=30_000, skew_ms=2_000, lateness_ms=5_000, negative_rate=1.0)
OPTIONS = ("--window", "30s", "--skew", "2s", "--lateness", "5s")
LOG_KEYS = ["consumed", "accepted", "late", "duplicate", "rejected"]


def written(path: Path, lines: Iterable[bytes]) -> Path:
    data = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


class Done(NamedTuple):
    """How a command ended."""

    code: object
    out: bytes
    err: bytes


def run(*arguments: object) -> Done:
    """As a process of its own."""
    command = [sys.executable, "-m", "streams.cli", "fold", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(*arguments: object, command: str = "fold") -> Done:
    """The same entry point in this process: a second less each."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with patch("sys.argv", ["clickfold", command, *map(str, arguments)]), patch("sys.stdout", out):  # noqa: SIM117
        with patch("sys.stderr", err), pytest.raises(SystemExit) as left:
            main()
    for stream in (out, err):
        stream.flush()
    return Done(left.value.code, out.buffer.getvalue(), err.buffer.getvalue())


class Folded:
    """What one run printed: outcomes, and the counts of the last line on stderr."""

    def __init__(self, done: Done) -> None:
        # 3: most of the log is refused on purpose.
        assert done.code in (0, 3), done.err.decode()
        self.lines: list[dict[str, Any]] = [orjson.loads(line) for line in done.out.splitlines()]
        self.outcomes = Counter(repr(decode(line, Outcome)) for line in done.out.splitlines())
        self.counts: dict[str, dict[str, int]] = orjson.loads(done.err.splitlines()[-1])

    def kinds(self) -> dict[str, str]:
        """Kind by click id, or by impression id where there was no click."""
        return {line["click_id"] or line["impression_id"]: line["kind"] for line in self.lines}


def fold(
    impressions: Path,
    clicks: Path,
    *options: object,
    runner: Callable[..., Done] = run_here,
    bounds: Sequence[str] = OPTIONS,
) -> Folded:
    return Folded(runner("--impressions", impressions, "--clicks", clicks, *bounds, *options))


def assert_true(folded: Folded, judged: Truth) -> None:
    assert folded.outcomes == Counter(map(repr, judged.decided()))
    for name, log in (("impressions", judged.impressions), ("clicks", judged.clicks)):
        assert {key: folded.counts[name][key] for key in LOG_KEYS} == {key: log.counts[key] for key in LOG_KEYS}
    assert folded.counts["impressions"]["unclicked"] == judged.counts["unclicked"]
    assert {key: folded.counts["clicks"][key] for key in ("billable", "repeat", "orphan")} == {
        key: judged.counts[key] for key in ("billable", "repeat", "orphan")
    }


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two minutes of event time with late, doubled, contradicting, broken and unmatched records."""
    folder, random = tmp_path_factory.mktemp("traffic"), Random(5)
    shown: list[bytes] = []
    clicked: list[tuple[int, bytes]] = []
    for number in range(2_000):
        ts = T0 + number * 60 - random.choice([0, 0, 0, 4_999, 5_000, 5_001, 9_000])
        impression_id = f"i{number}"
        line = impression(impression_id, ts, country=random.choice(["de", "fr", None]))
        shown += [line] * random.choice([1] * 20 + [2])
        shown += [impression(impression_id, ts + 1)] * (random.random() < 0.02) + [b"{"] * (random.random() < 0.01)
        for at in range(random.choice([0] * 12 + [1, 2])):
            click_ts = ts + random.choice([-2_001, -2_000, 0, 700, 29_999, 30_000, 30_001])
            clicked += [(click_ts, click(f"k{number}-{at}", impression_id, click_ts))] * random.choice([1, 1, 2])
        clicked += [(ts, click(f"o{number}", "never shown", ts))] * (random.random() < 0.02)
    clicked.sort(key=lambda one: one[0] + random.choice([0, 0, 6_000]))
    return (
        written(folder / "impressions.jsonl", shown),
        written(folder / "clicks.jsonl", [line for _, line in clicked]),
    )


def judged(traffic: Sequence[Path], bounds: JoinBounds = BOUNDS) -> Truth:
    return truth(FileLog([traffic[0]], "impressions").records(), FileLog([traffic[1]], "clicks").records(), bounds)


def test_outcomes_and_counts_equal_the_oracle(traffic: tuple[Path, Path]) -> None:
    found = judged(traffic)
    kinds = Counter(outcome.kind for outcome in found.decided())
    assert min(kinds[kind] for kind in ("click", "repeat", "unclicked", "orphan")) > 5
    fates = found.impressions.counts + found.clicks.counts
    assert min(fates[fate] for fate in ("late", "duplicate", "rejected")) > 5
    assert_true(fold(*traffic, runner=run), found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_interleaving_gives_the_same_set(traffic: tuple[Path, Path], seed: int) -> None:
    assert_true(fold(*traffic, "--interleave", seed), judged(traffic))


def test_a_compressed_log_gives_the_same_lines(traffic: tuple[Path, Path], tmp_path: Path) -> None:
    packed = [written(tmp_path / f"{path.name}.gz", path.read_bytes().splitlines()) for path in traffic]
    plain, gz = fold(*traffic), fold(packed[0], packed[1])
    assert plain.lines == gz.lines
    assert plain.counts == gz.counts


def test_a_share_of_the_unclicked_is_kept_by_its_hash_and_all_are_counted(traffic: tuple[Path, Path]) -> None:
    bounds = msgspec.structs.replace(BOUNDS, negative_rate=0.25)
    folded = fold(*traffic, "--negative-rate", 0.25)
    assert_true(folded, judged(traffic, bounds))
    kept = [line for line in folded.lines if line["kind"] == "unclicked"]
    assert 0 < len(kept) < folded.counts["impressions"]["unclicked"] / 2
    assert all(
        xxhash.xxh3_64_intdigest(line["impression_id"].encode()) < 2**62 and line["weight"] == 4.0 for line in kept
    )


def test_every_outcome_names_kind_impression_and_click_or_null(tmp_path: Path) -> None:
    folded = fold(
        written(tmp_path / "impressions", [impression("a", T0), impression("b", T0 + 1)]),
        written(tmp_path / "clicks", [click("k", "a", T0 + 5), click("again", "a", T0 + 6), click("lost", "z", T0)]),
    )
    named = {(line["kind"], line["impression_id"], line["click_id"]) for line in folded.lines}
    assert named == {("click", "a", "k"), ("repeat", "a", "again"), ("orphan", "z", "lost"), ("unclicked", "b", None)}
    assert list(folded.counts) == ["impressions", "clicks"]
    assert list(folded.counts["impressions"]) == [*LOG_KEYS, "unclicked"]
    assert list(folded.counts["clicks"]) == [*LOG_KEYS, "billable", "repeat", "orphan"]


def test_window_and_skew_include_their_ends(tmp_path: Path) -> None:
    delays = {"early": -2_001, "earliest": -2_000, "latest": 30_000, "too_late": 30_001}
    folded = fold(
        written(tmp_path / "impressions", [impression(name, T0) for name in delays]),
        written(tmp_path / "clicks", [click(f"k_{name}", name, T0 + ms) for name, ms in delays.items()]),
    )
    clicks = {"k_early": "orphan", "k_earliest": "click", "k_latest": "click", "k_too_late": "orphan"}
    assert folded.kinds() == {**clicks, "early": "unclicked", "too_late": "unclicked"}


def test_a_record_exactly_lateness_behind_is_accepted_and_one_further_is_late(tmp_path: Path) -> None:
    folded = fold(
        written(
            tmp_path / "impressions",
            [impression("first", T0), impression("edge", T0 - 5_000), impression("late", T0 - 5_001)],
        ),
        written(
            tmp_path / "clicks",
            [
                click("k_first", "first", T0 + 1),
                click("k_edge", "edge", T0 - 4_999),
                click("k_late", "first", T0 - 5_000),
            ],
        ),
    )
    assert folded.kinds() == {"k_first": "click", "k_edge": "click"}
    assert (folded.counts["impressions"]["accepted"], folded.counts["impressions"]["late"]) == (2, 1)
    assert (folded.counts["clicks"]["accepted"], folded.counts["clicks"]["late"]) == (2, 1)


def test_ids_are_twins_up_to_the_dedupe_horizon_whatever_else_flows(tmp_path: Path) -> None:
    """The two records' own times count, not how far other records have moved the watermark."""
    horizon = 40_000
    for between in ([], [click("x", "z", T0 + horizon)]):
        folded = fold(
            written(tmp_path / "impressions", [impression("a", T0), impression("b", T0 + horizon)]),
            written(
                tmp_path / "clicks",
                [
                    *(click("k", "a", T0), *between),
                    # At the horizon a twin, a millisecond beyond it another click.
                    *(click("k", "b", T0 + horizon), click("l", "a", T0), click("l", "b", T0 + horizon + 1)),
                ],
            ),
            *("--dedupe", "40s", "--window", "30s", "--skew", "5s", "--lateness", "60s"),
        )
        counts = folded.counts["clicks"]
        assert (counts["rejected"], counts["accepted"]) == (1, 3 + len(between))


def test_lines_that_are_no_events_are_counted_as_rejects_and_the_rest_is_joined(tmp_path: Path) -> None:
    bad = [b"not json", b"[]", b"{}", impression("", T0), impression("b", 5), impression("c", T0, price_micros=-1)]
    folded = fold(
        written(tmp_path / "impressions", [*bad, impression("a", T0), impression("a", T0), impression("a", T0 + 1)]),
        written(tmp_path / "clicks", [b'{"click_id":"k"}', b"\xff", click("k", "a", T0), click("", "a", T0)]),
    )
    assert folded.kinds() == {"k": "click"}
    fates = {"consumed": 9, "accepted": 1, "late": 0, "duplicate": 1, "rejected": 7}
    assert folded.counts["impressions"] == {**fates, "unclicked": 0}
    assert (folded.counts["clicks"]["rejected"], folded.counts["clicks"]["billable"]) == (3, 1)


def test_empty_logs_have_no_outcomes(tmp_path: Path) -> None:
    folded = fold(written(tmp_path / "impressions", []), written(tmp_path / "clicks", []))
    assert folded.lines == []
    assert sum(sum(log.values()) for log in folded.counts.values()) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--clicks", "nowhere.jsonl"], "clicks file nowhere.jsonl does not exist"),
        (["--window", "0s"], "window is 0 ms; give one from 1 ms to 31 days, such as 30m"),
        (["--window", "0"], "--window: duration '0' is not a number with a unit; write it as 30m"),
        (["--skew", "5 parsecs"], "--skew: duration '5 parsecs' is not a number with a unit"),
        (["--lateness", "32d"], "lateness is 2764800000 ms; give one from 0 to 31 days"),
        (["--dedupe", "1804s"], "dedupe horizon is 1804000 ms, below window + skew = 1805000 ms"),
        (["--negative-rate", "2"], "negative rate is 2.0; give a share from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_code_2(tmp_path: Path, options: list[str], sentence: str) -> None:
    impressions, clicks = written(tmp_path / "impressions", []), written(tmp_path / "clicks", [])
    runner = run if "nowhere.jsonl" in options else run_here
    done = runner("--impressions", impressions, "--clicks", clicks, *options)
    assert (done.code, done.out) == (2, b"")
    (line,) = done.err.decode().splitlines()
    assert line.startswith(f"clickfold: {sentence}")
