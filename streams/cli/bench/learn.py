"""`clickfold bench learn`: rows a second of the click models from bytes of JSON, beside Vowpal Wabbit and River."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from online_models.learner import Learner
from online_models.mixture.examples import Example, read_example
from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.reading import Reader
from online_models.mixture.row_model import RowModel
from online_models.mixture.rows import Fields
from online_models.settings import Challenger, LearnerSettings, ModelSettings
from schemas.compiled import load_kernels
from schemas.errors import SettingsError
from schemas.records import Records
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.bench.vw_text import Texts, river_features
from streams.inputs.files import FileLog

_BATCH: Final = 1_000
# River takes 50 µs and more a row.
_RIVER_ROWS: Final = 20_000
_CHALLENGERS: Final = 8


def learn(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Outcomes as JSON lines, plain or .gz.")],
    rows: Annotated[int, typer.Option(min=1_000, help="Rows to time; the files are repeated.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often it is measured.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Time the click models on files: rows for one second of CPU, beside Vowpal Wabbit and River if installed.

    Each is timed on the second half of the rows. A worker also orders and measures them; with eight challengers FTRL
    and eight more learn the rows, which are read once. Vowpal Wabbit reads its own text, which is made before: a file,
    or row after row by its interface for Python.
    """
    say = print_nothing if json else print_progress
    load_kernels()
    own = [
        (line, example)
        for _, line in FileLog(files, "outcomes").lines()
        if isinstance(example := read_example(line), Example)
    ]
    if not own:
        raise SettingsError("the files have no line with a label; give files of outcomes")
    lines, examples = zip(*(own[place % len(own)] for place in range(rows)), strict=True)
    timed: dict[str, Callable[[], float]] = {
        "reading alone": lambda: _models_s(lines, None),
        "ftrl": lambda: _models_s(lines, Ftrl()),
        "mixture": lambda: _models_s(lines, Mixture()),
        "worker": lambda: _worker_s(lines, "mixture"),
        "worker, ftrl": lambda: _worker_s(lines, "ftrl"),
        f"{_CHALLENGERS} challengers": lambda: _worker_s(lines, "ftrl", challengers=_CHALLENGERS),
    }
    missing = [name for name in ("vowpalwabbit", "river") if find_spec(name) is None]
    if "vowpalwabbit" not in missing:
        timed["vw linear"] = lambda: _vw_s(examples, "")
        timed["vw -q ::"] = lambda: _vw_s(examples, "-q ::")
        timed["vw, Python"] = lambda: _vw_python_s(examples)
    if "river" not in missing:
        timed["river"] = lambda: _river_s(lines[:_RIVER_ROWS])
    measured: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds):
        for name, seconds in timed.items():
            done = min(rows, _RIVER_ROWS) if name == "river" else rows
            measured[name].append((done - done // 2) / seconds())
        say(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in measured.items()))
    found = {name: round(statistics.median(values)) for name, values in measured.items()}
    if json:
        typer.echo(orjson.dumps({"rows_per_cpu_s": found, "rows": rows, "rounds": rounds, "missing": missing}))
        return
    for name, value in found.items():
        say(f"{name:<16}{value:>12,} rows a second of CPU")
    if missing:
        say(f"not installed, so not measured: {', '.join(missing)}")


def _models_s(lines: Sequence[bytes], model: RowModel | None) -> float:
    """Seconds of CPU for the second half of the lines."""
    slices = LearnerSettings().slices
    known, selection = (model.known, model.selection) if model is not None else (Fields(), None)
    reader = Reader(known, selection, slices=slices)
    started_s = 0.0
    half = len(lines) // 2
    for part in (lines[:half], lines[half:]):
        started_s = time.process_time()
        for start in range(0, len(part), _BATCH):
            batch = reader.read(part[start : start + _BATCH], _not_refused)
            if model is not None:
                model.run(batch.rows)
    return time.process_time() - started_s


def _worker_s(lines: Sequence[bytes], kind: str, *, challengers: int = 0) -> float:
    """Seconds of CPU of a worker's learner for the second half of the lines; challengers are FTRL."""
    others = tuple(Challenger(name=f"c{number}", kind="ftrl") for number in range(challengers))
    learner = Learner(LearnerSettings(learns=ModelSettings(kind=kind), challengers=others), shard=0)
    learner.lineup.begin({}, 0)
    started_s = 0.0
    half = len(lines) // 2
    for start in (*range(0, half, _BATCH), *range(half, len(lines), _BATCH)):
        if start == half:
            started_s = time.process_time()
        values = lines[start : min(start + _BATCH, half if start < half else len(lines))]
        none = [None] * len(values)
        learner.step(Records("outcomes", 0, range(start, start + len(values)), [-1] * len(values), none, values))
    return time.process_time() - started_s


def _not_refused(place: int, _: Any) -> None:
    raise SettingsError(f"line {place} is no example")  # it was one before


def _vw_s(examples: Sequence[Example], arguments: str) -> float:
    """Seconds of CPU of Vowpal Wabbit's own driver over a text file: of all lines less the first half."""
    import vowpalwabbit

    rows = Texts()
    texts = list(map(rows.line, examples))
    spent: list[float] = []
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder:
        for part in (texts[: len(texts) // 2], texts):
            path = Path(folder) / "rows"
            path.write_text("\n".join(part) + "\n")
            started_s = time.process_time()
            vowpalwabbit.Workspace(arguments, data=str(path), predictions=f"{folder}/p", **_VW_SETTINGS).finish()
            spent.append(time.process_time() - started_s)
    return spent[1] - spent[0]


def _vw_python_s(examples: Sequence[Example]) -> float:
    """Seconds of CPU of Vowpal Wabbit's interface for Python for the second half: each row is predicted and learned."""
    import vowpalwabbit

    rows = Texts()
    texts = list(map(rows.line, examples))
    model = vowpalwabbit.Workspace(**_VW_SETTINGS)
    started_s = 0.0
    half = len(texts) // 2
    for part in (texts[:half], texts[half:]):
        started_s = time.process_time()
        for text in part:
            example = model.example(text)
            # What it learned from is also what it predicted, so a row is looked up once.
            model.learn(example)
            example.get_simplelabel_prediction()
            model.finish_example(example)
    spent_s = time.process_time() - started_s
    model.finish()
    return spent_s


# As its command line, with the options spelled as Python's.
_VW_SETTINGS: Final = {"b": 22, "quiet": True, "no_stdin": True, "loss_function": "logistic", "link": "logistic"}


def _river_s(lines: Sequence[bytes]) -> float:
    """Seconds of CPU of River's logistic regression with FTRL for the second half of the lines."""
    from river import linear_model, optim

    model: Any = linear_model.LogisticRegression(optim.FTRLProximal())
    started_s = 0.0
    half = len(lines) // 2
    for part in (lines[:half], lines[half:]):
        started_s = time.process_time()
        for line in part:
            example = read_example(line)
            assert isinstance(example, Example)
            given = river_features(example)
            model.predict_proba_one(given)
            model.learn_one(given, example.label == 1)
    return time.process_time() - started_s
