"""`clickfold demo` as users run it: on their files, held against the batch truth, and interrupted at any moment."""

from __future__ import annotations

import csv
import gzip
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from schemas.bounds import JoinBounds
from schemas.codec import decode
from schemas.outcomes import Outcome
from schemas.totals import DIMENSIONS, MEASURES
from streams.inputs.files import FileLog
from streams.verify.oracle import truth
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.timeout(600)
BOUNDS = JoinBounds(window_ms=600_000, skew_ms=2_000, lateness_ms=30_000, negative_rate=1.0)
OPTIONS = ["--window", "10m", "--skew", "2s", "--lateness", "30s"]
START_MS = 1_700_000_000_000
COUNT = 3_000
# Its learner has a lower priority, and gets little of a busy machine.
WHOLE_DEMO_S = 2 * PATIENCE_S


class Demo:
    """Runs of the command with a temporary folder of their own, by which whatever they leave behind is found."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.output_path = folder / "output.txt"

    def start(self, *options: str | Path) -> subprocess.Popen[bytes]:
        with self.output_path.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "demo", *map(str, options)],
                env={**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "200"},
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its own group, as under a shell: Ctrl-C must not depend on the children getting it too.
                process_group=0,
            )

    def run(self, *options: str | Path, ends: int = 0) -> str:
        """The output of a run that agreed with the truth, ended with this code and left nothing behind."""
        process = self.start(*options)
        code = process.wait(WHOLE_DEMO_S)
        assert code == ends, self.output
        assert ("✗" in self.output) == (ends != 0), self.output
        assert self.output.count("✓") + self.output.count("nothing was compared") == 14, self.output
        self.assert_nothing_left()
        return self.output

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def processes(self) -> list[str]:
        """Commands of the processes that run with this temporary folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.temporary).encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # gone meanwhile, or another user's
                continue
        return found

    def assert_nothing_left(self) -> None:
        assert not self.processes
        assert not list(self.temporary.iterdir())

    def wait_until_it(self, reaches: str) -> None:
        """Until the run starts Kafka, ClickHouse or its workers, or plays."""
        files = {"kafka": "*/kafka/kafka.lock", "clickhouse": "*/clickhouse/*.lock", "workers": "*/workers/sink.lock"}
        eventually(
            lambda: "events/s" in self.output if reaches == "playing" else any(self.temporary.glob(files[reaches])),
            what=reaches,
            about=lambda: self.output,
            within_s=WHOLE_DEMO_S,
        )


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path)


def write_inputs(folder: Path) -> tuple[Path, Path, Path]:
    """Impressions, clicks (gzip) and campaigns with all that real files have: doubles, conflicts, late, broken."""
    random = Random(5)
    impressions: list[bytes] = []
    clicks: list[dict[str, Any]] = []
    for number in range(COUNT):
        ts = START_MS + number * 1_000 - random.choice([0] * 30 + [10_000, 29_999, 30_000, 31_000, 60_000])
        event = {
            "impression_id": f"i{number}",
            "ts": ts,
            "campaign_id": f"c{number % 4}",
            "creative_id": f"x{number % 7}",
            "price_micros": 1_000 * (number % 13),
            "placement": random.choice(["top", "side"]),
            "experiment": "e",
            "arm": random.choice(["a", "b"]),
            "pctr": 0.1,
        }
        line = orjson.dumps(event)
        impressions.append(line)
        fate = random.random()
        if fate < 0.02:
            impressions.append(line)
        elif fate < 0.03:
            impressions.append(orjson.dumps({**event, "price_micros": 7}))
        elif fate < 0.04:
            impressions.append(random.choice([b"{", b"[]", b'{"impression_id": 5}', line[:-9], b"\xff\xfe", b"null"]))
        if random.random() < 0.15:
            delay = random.choice([-2_001, -2_000, 0, 60_000, 599_999, 600_000, 600_001, 900_000])
            click = {"click_id": f"k{number}", "impression_id": f"i{number}", "ts": ts + delay}
            clicks += [click] * random.choice([1, 1, 1, 2])
            if random.random() < 0.2:
                clicks.append({**click, "click_id": f"k{number}b", "ts": ts + delay + 1})
            if random.random() < 0.1:
                clicks.append({**click, "click_id": f"n{number}", "impression_id": "nobody"})
            if random.random() < 0.1:
                clicks.append({**click, "ts": ts + delay + 2})
    # By time, but for what is late on its way.
    clicks.sort(key=lambda click: click["ts"] + random.choice([0] * 9 + [29_000, 120_000]))
    click_lines = [*map(orjson.dumps, clicks), b"not json", b'{"click_id": "", "impression_id": "i1", "ts": 1}']
    campaigns = [
        {
            "campaign_id": f"c{number}",
            "daily_budget_micros": 5_000_000,
            "timezone": ["UTC", "Asia/Tokyo", "America/New_York"][number],
            "status": "active",
            "pacing": "even",
            "version": 1,
        }
        for number in range(3)
    ]
    paths = folder / "impressions.jsonl", folder / "clicks.jsonl.gz", folder / "campaigns.jsonl"
    paths[0].write_bytes(b"".join(line + b"\n" for line in impressions))
    paths[1].write_bytes(gzip.compress(b"".join(line + b"\n" for line in click_lines)))
    paths[2].write_bytes(b"".join(orjson.dumps(campaign) + b"\n" for campaign in campaigns))
    return paths


class Exported:
    """What `--export` wrote."""

    def __init__(self, folder: Path) -> None:
        self.lines = (folder / "outcomes.jsonl").read_bytes().splitlines()
        self.outcomes = [decode(line, Outcome) for line in self.lines]
        with (folder / "totals.csv").open(newline="") as file:
            self.totals = list(csv.DictReader(file))
        self.ledger: dict[str, dict[str, int]] = orjson.loads((folder / "ledger.json").read_bytes())

    def measures(self) -> dict[tuple[str, ...], dict[str, int]]:
        """Measures that are not zero, by minute and dimensions."""
        found = {
            (row["minute"], *(row[name] for name in DIMENSIONS)): {
                name: int(row[name]) for name in MEASURES if row[name] != "0"
            }
            for row in self.totals
        }
        assert len(found) == len(self.totals)
        return found

    def assert_consistent(self) -> None:
        for fates in self.ledger.values():
            assert fates["consumed"] == sum(fates[name] for name in ("accepted", "late", "duplicate", "rejected"))
        shown, clicked = self.ledger["impressions"], self.ledger["clicks"]
        assert clicked["accepted"] == sum(clicked[name] for name in ("billable", "repeat", "orphan"))
        assert shown["accepted"] == shown["unclicked"] + clicked["billable"]
        kinds = Counter(outcome.kind for outcome in self.outcomes)
        assert (kinds["click"], kinds["unclicked"]) == (clicked["billable"], shown["unclicked"])
        assert (kinds["repeat"], kinds["orphan"]) == (clicked["repeat"], clicked["orphan"])
        sums = sum((Counter(row) for row in self.measures().values()), Counter[str]())
        spend = sum(outcome.price_micros or 0 for outcome in self.outcomes if outcome.kind == "click")
        assert (sums["impressions"], sums["repeats"]) == (shown["accepted"], clicked["repeat"])
        assert sums["clicks"] == sums["attributed_clicks"] == clicked["billable"]
        assert sums["spend_micros"] == sums["attributed_spend_micros"] == spend


def decided(lines: Iterable[bytes]) -> Counter[str]:
    """Outcomes as a set with multiplicity, whichever fields are spelled out."""
    return Counter(repr(decode(line, Outcome)) for line in lines)


@pytest.mark.broker
@pytest.mark.clickhouse
def test_demo_on_files_equals_the_batch_truth_and_clickfold_fold(demo: Demo, tmp_path: Path) -> None:
    impressions, clicks, campaigns = write_inputs(tmp_path)
    files: list[str | Path] = ["--impressions", impressions, "--clicks", clicks]
    more: list[str | Path] = ["--campaigns", campaigns, "--partitions", "1", "--speed", "max"]
    demo.run(*files, *more, *OPTIONS, "--export", tmp_path / "export")
    exported = Exported(tmp_path / "export")
    exported.assert_consistent()
    judged = truth(FileLog([impressions], "impressions").records(), FileLog([clicks], "clicks").records(), BOUNDS)
    # The files are worth comparing: every fate there is occurs.
    for log in (judged.impressions, judged.clicks):
        assert all(log.counts[fate] > 3 for fate in ("accepted", "late", "duplicate", "rejected")), log.counts
    assert all(judged.counts[decision] > 20 for decision in ("billable", "repeat", "orphan", "unclicked"))
    assert decided(exported.lines) == Counter(map(repr, judged.decided()))
    assert exported.measures() == {tuple(map(str, key)): dict(+row) for key, row in judged.totals.items()}
    command = [sys.executable, "-m", "streams.cli", "fold", *map(str, files), *OPTIONS]
    folded = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=True)
    assert decided(exported.lines) == decided(folded.stdout.splitlines())
    assert exported.ledger == orjson.loads(folded.stderr.splitlines()[-1])


@pytest.mark.broker
@pytest.mark.clickhouse
def test_demo_on_two_partitions_without_campaigns_agrees_and_calls_them_unknown(demo: Demo, tmp_path: Path) -> None:
    impressions, clicks, _ = write_inputs(tmp_path)
    files: list[str | Path] = ["--impressions", impressions, "--clicks", clicks]
    said = demo.run(*files, "--partitions", "2", *OPTIONS, "--export", tmp_path / "export")
    exported = Exported(tmp_path / "export")
    exported.assert_consistent()
    assert {orjson.loads(line)["join_partition"] for line in exported.lines} == {0, 1}
    pacing = said[said.index("Pacing:") : said.index("Model:")]
    assert pacing.count("unknown") == 4, pacing


@pytest.mark.broker
@pytest.mark.clickhouse
def test_demo_on_no_impressions_and_clicks_of_nobody_agrees(demo: Demo, tmp_path: Path) -> None:
    clicks = [{"click_id": f"k{number}", "impression_id": f"i{number}", "ts": START_MS} for number in range(3)]
    (tmp_path / "none.jsonl").touch()
    (tmp_path / "clicks.jsonl").write_bytes(b"".join(orjson.dumps(click) + b"\n" for click in clicks))
    files: list[str | Path] = ["--impressions", tmp_path / "none.jsonl", "--clicks", tmp_path / "clicks.jsonl"]
    said = demo.run(*files, "--partitions", "1", "--export", tmp_path / "export", ends=3)
    assert "there are 3 clicks and no impressions" in said
    exported = Exported(tmp_path / "export")
    exported.assert_consistent()
    assert exported.ledger["clicks"]["orphan"] == 3
    assert exported.totals == []


@pytest.mark.broker
@pytest.mark.clickhouse
@pytest.mark.parametrize(
    ("number", "reaches"),
    [
        (signal.SIGINT, "kafka"),
        (signal.SIGTERM, "clickhouse"),
        (signal.SIGINT, "workers"),
        (signal.SIGINT, "playing"),
    ],
)
def test_demo_interrupted_at_any_moment_leaves_nothing(demo: Demo, number: signal.Signals, reaches: str) -> None:
    process = demo.start()
    demo.wait_until_it(reaches)
    process.send_signal(number)
    assert process.wait(WHOLE_DEMO_S) == 130, demo.output
    demo.assert_nothing_left()
    assert "Traceback" not in demo.output


@pytest.mark.broker
@pytest.mark.clickhouse
def test_demo_killed_leaves_no_process(demo: Demo) -> None:
    process = demo.start()
    demo.wait_until_it("workers")
    process.kill()
    process.wait()
    eventually(lambda: demo.processes, equals=[], what="the end of all processes")


@pytest.mark.broker
@pytest.mark.clickhouse
@pytest.mark.parametrize(("part", "name"), [("workers/sink", "worker sink"), ("kafka/kafka", "kafka")])
def test_part_that_ends_during_the_demo_is_told_with_its_last_words(demo: Demo, part: str, name: str) -> None:
    process = demo.start()
    demo.wait_until_it("playing")
    record = orjson.loads(next(demo.temporary.glob(f"*/{part}.lock")).read_bytes())
    os.kill(record["pid"], signal.SIGKILL)
    assert process.wait(WHOLE_DEMO_S) == 2, demo.output
    assert f"clickfold: {name} ended" in demo.output
    assert "Traceback" not in demo.output
    demo.assert_nothing_left()
