"""The default mixture and plain FTRL beside Vowpal Wabbit, at its default and at the best of 23 settings.

`python -m tests.learning FOLDER` takes each `*.outcomes.jsonl.gz` of a folder, and the Open Bandit sample. Each file
is run with labels at once and with labels that come late. Nothing is tuned
for a file but the choice of the best setting.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from online_models.mixture.examples import Example, read_example
from schemas.bounds import parse_duration_ms
from streams.cli.bench.vw_text import Texts
from streams.inputs.files import FileLog
from streams.inputs.sample import open_bandit
from tests.learning.scoring import MODELS, delay_of, of_vw, points_below, reached
from tests.learning.vw import runs, settings
from tests.peers.environments import MissingPeerError

CLICKFOLD: Final = Path(sys.executable).with_name("clickfold")
AT_ONCE: Final = "0s"
SAMPLE: Final = "open_bandit"
_ENDING: Final = ".outcomes.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Log:
    """A file of outcomes, and what Vowpal Wabbit gets of it."""

    name: str
    path: Path
    lines: list[str]
    times: list[int]
    labels: np.ndarray
    weights: np.ndarray

    @property
    def delay(self) -> str:
        """Of the run with late labels."""
        return delay_of(max(self.times) - min(self.times))


def read_log(name: str, path: Path) -> Log:
    """The labelled rows of a file."""
    texts, found = Texts(), list[Example]()
    for _, line in FileLog([path], "outcomes").lines():
        example = read_example(line)
        if isinstance(example, Example):
            found.append(example)
    if not found:
        raise SystemExit(f"{path} has no outcome with a label; give a folder with files of outcomes")
    return Log(
        name,
        path,
        [texts.line(each) for each in found],
        [each.ts or 0 for each in found],
        np.array([each.label for each in found], np.int8),
        np.array([each.weight for each in found]),
    )


def sample_outcomes(folder: Path) -> Path:
    """The Open Bandit sample joined by `clickfold fold`, in the order in which impressions were shown."""
    sample = open_bandit()
    for name, events in (("impressions", sample.impressions), ("clicks", sample.clicks)):
        (folder / name).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in events))
    command = [str(CLICKFOLD), "fold", "--impressions", str(folder / "impressions"), "--clicks", str(folder / "clicks")]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"clickfold fold ended with {done.returncode}: {done.stderr.decode()[-400:]}")
    # The join decides a non-click half an hour later than a click; so their order would tell the label.
    shown = [line for line in done.stdout.splitlines() if isinstance(read_example(line), Example)]
    shown.sort(key=lambda line: (json.loads(line)["ts"], json.loads(line)["impression_id"]))
    path = folder / f"{SAMPLE}.outcomes.jsonl"
    path.write_bytes(b"\n".join(shown) + b"\n")
    return path


def clickfold_figures(log: Log, model: str, delay: str) -> dict[str, Any]:
    """What `clickfold learn` says of the file."""
    command = [str(CLICKFOLD), "learn", str(log.path), "--model", model, "--delay", delay, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"clickfold learn ended with {done.returncode}: {done.stderr[-400:]}")
    found = json.loads(done.stdout)
    assert found["rows"] == len(log.lines), f"clickfold read {found['rows']} rows of {len(log.lines)}"
    return {name: found[name] for name in ("ne", "ne_second_half", "calibration", "rows_per_s")}


def compared(log: Log, delay: str) -> dict[str, Any]:
    """The figures of all models on one file."""
    where, found = f"{log.name}, delay {delay}", dict[str, Any]()
    for model in ("mixture", "ftrl"):
        _say(f"{where}: {model} …")
        found[model] = clickfold_figures(log, model, delay)
    commands = settings(float(np.average(log.labels, weights=log.weights)))
    with tempfile.TemporaryDirectory(prefix="clickfold-learning-") as folder:
        ran = runs(
            log.lines,
            log.times,
            list(commands.values()),
            delay_ms=parse_duration_ms(delay),
            folder=Path(folder),
            say=_say,
            done=lambda number: _say(f"{where}: Vowpal Wabbit, {number + 1} of {len(commands)}"),
        )
    return found | of_vw(dict(zip(commands, ran, strict=True)), log.labels, log.weights)


def table(results: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """A line for each model of each run. Points: by how much a model is below Vowpal Wabbit's best."""
    heads = f"{'NE':>8}{'2nd half':>10}{'points':>8}{'calibration':>13}{'rows/s':>10}"
    yield f"{'file':<14}{'delay':>6}  {'model':<12}{heads}"
    for name, by_delay in results.items():
        for delay, found in by_delay.items():
            for model in MODELS:
                of = found[model]
                yield (
                    f"{name:<14}{delay:>6}  {model:<12}{of['ne']:>8.4f}{of['ne_second_half']:>10.4f}"
                    f"{points_below(of, found['vw best']):>+8.2f}{of['calibration']:>13.3f}{of['rows_per_s']:>10,.0f}"
                    + (f"  {of['setting']}" if "setting" in of else "")
                )


def main() -> None:
    """Prints the table, or with --json the results as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help=f"with files *{_ENDING}; without one: Open Bandit alone")
    parser.add_argument("--json", action="store_true", help="only JSON on stdout")
    given = parser.parse_args()
    files = sorted(given.folder.glob(f"*{_ENDING}")) if given.folder else []
    if given.folder and not files:
        raise SystemExit(f"{given.folder} has no file *{_ENDING}; give a folder with outcomes")
    results = dict[str, dict[str, dict[str, Any]]]()
    with tempfile.TemporaryDirectory(prefix="clickfold-learning-") as folder:
        paths = {path.name.removesuffix(_ENDING): path for path in files} | {SAMPLE: sample_outcomes(Path(folder))}
        for name, path in paths.items():
            log = read_log(name, path)
            try:
                results[name] = {delay: compared(log, delay) for delay in (AT_ONCE, log.delay)}
            except MissingPeerError as missing:
                raise SystemExit(f"Vowpal Wabbit cannot be installed: {missing}") from missing
    of_files = [by_delay for name, by_delay in results.items() if name != SAMPLE] or list(results.values())
    late = [found for by_delay in of_files for delay, found in by_delay.items() if delay != AT_ONCE]
    summary = reached([by_delay[AT_ONCE] for by_delay in of_files], late)
    if given.json:
        print(json.dumps({"results": results, "summary": summary}))
        return
    print("\n".join(table(results)))
    print(f"\nThe mixture below Vowpal Wabbit's best, {SAMPLE} not counted:" if files else "\nThe mixture:")
    mean, least = summary["mean_points_below_best"], summary["least_points_below_best"]
    print(f"  labels at once: mean {mean:+.2f}, least {least:+.2f}")
    print(f"  calibration: {summary['calibration'][0]:.3f} to {summary['calibration'][1]:.3f}")
    print(
        f"  labels late: least {summary['late_least_points_below_best']:+.2f}, of the second half "
        f"{summary['late_second_half_least_points_below_best']:+.2f}"
    )


def _say(text: str) -> None:
    """On a terminal in place of the line before."""
    redraws = sys.stderr.isatty()
    sys.stderr.write(f"\r{text}\x1b[K" if redraws else f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
