"""`clickfold bench learn`: rows a second of the click models from bytes of JSON, beside Vowpal Wabbit and River."""

from __future__ import annotations

import json as text_json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from online_models.mixture.examples import Example, read_example
from online_models.mixture.model import Mixture
from online_models.mixture.plain import Ftrl
from online_models.mixture.reading import Reader
from online_models.mixture.rows import Fields
from schemas.compiled import load_kernels
from schemas.errors import SettingsError
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.inputs.files import FileLog

_BATCH: Final = 1_000
# River takes 50 µs and more a row.
_RIVER_ROWS: Final = 20_000
_HOUR_MS: Final = 3_600_000
_NAMED: Final = ("campaign_id", "creative_id", "placement", "country", "device")


def learn(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Outcomes as JSON lines, plain or .gz.")],
    rows: Annotated[int, typer.Option(min=1_000, help="Rows to time; the files are repeated.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often it is measured.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Time the click models on files: rows for one second of CPU, beside Vowpal Wabbit and River if installed.

    Each is timed on the second half of the rows. Vowpal Wabbit reads its own text, which is made before.
    """
    say = print_nothing if json else print_progress
    load_kernels()
    own = [line for _, line in FileLog(files, "outcomes").lines() if isinstance(read_example(line), Example)]
    if not own:
        raise SettingsError("the files have no line with a label; give files of outcomes")
    lines = [own[place % len(own)] for place in range(rows)]
    timed: dict[str, Callable[[Sequence[bytes]], float]] = {
        "reading alone": lambda given: _models_s(given, None),
        "ftrl": lambda given: _models_s(given, Ftrl()),
        "mixture": lambda given: _models_s(given, Mixture()),
    }
    missing = [name for name in ("vowpalwabbit", "river") if find_spec(name) is None]
    if "vowpalwabbit" not in missing:
        timed["vw linear"] = lambda given: _vw_s(given, "")
        timed["vw -q ::"] = lambda given: _vw_s(given, "-q ::")
    if "river" not in missing:
        timed["river"] = lambda given: _river_s(given[:_RIVER_ROWS])
    measured: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds):
        for name, seconds in timed.items():
            done = min(rows, _RIVER_ROWS) if name == "river" else rows
            measured[name].append((done - done // 2) / seconds(lines))
        say(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in measured.items()))
    found = {name: round(statistics.median(values)) for name, values in measured.items()}
    if json:
        typer.echo(orjson.dumps({"rows_per_cpu_s": found, "rows": rows, "rounds": rounds, "missing": missing}))
        return
    for name, value in found.items():
        say(f"{name:<16}{value:>12,} rows a second of CPU")
    if missing:
        say(f"not installed, so not measured: {', '.join(missing)}")


def _models_s(lines: Sequence[bytes], model: Mixture | Ftrl | None) -> float:
    """Seconds of CPU for the second half of the lines."""
    reader = Reader(model.known, model.selection) if model is not None else Reader(Fields())
    started_s = 0.0
    half = len(lines) // 2
    for part in (lines[:half], lines[half:]):
        started_s = time.process_time()
        for start in range(0, len(part), _BATCH):
            batch = reader.read(part[start : start + _BATCH], _not_refused)
            if model is not None:
                model.run(batch.rows)
    return time.process_time() - started_s


def _not_refused(place: int, _: Any) -> None:
    raise SettingsError(f"line {place} is no example")  # it was one before


def _vw_s(lines: Sequence[bytes], arguments: str) -> float:
    """Seconds of CPU of Vowpal Wabbit's own driver over a text file: of all lines less the first half."""
    import vowpalwabbit

    texts = [_vw_text(text_json.loads(line)) for line in lines]
    spent: list[float] = []
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder:
        for part in (texts[: len(texts) // 2], texts):
            path = Path(folder) / "rows"
            path.write_text("\n".join(part) + "\n")
            started_s = time.process_time()
            vowpalwabbit.Workspace(arguments, data=str(path), predictions=f"{folder}/p", **_VW_SETTINGS).finish()
            spent.append(time.process_time() - started_s)
    return spent[1] - spent[0]


def _vw_text(fields: dict[str, Any]) -> str:
    """A row as Vowpal Wabbit reads it: a namespace for each field."""
    found = ["1" if fields["label"] else "-1"]
    for number, (_, value) in enumerate(_features(fields)):
        space = chr(97 + number) if number < 26 else chr(65 + number - 26) if number < 52 else "_"
        if isinstance(value, float):
            found.append(f"|{space} v:{math.copysign(math.log1p(abs(value)), value):.6g}")
        else:
            found.append(f"|{space} {value.translate(_VW_SIGNS)}")
    return " ".join(found)


# As its command line, with the options spelled as Python's.
_VW_SETTINGS: Final = {"b": 22, "quiet": True, "no_stdin": True, "loss_function": "logistic", "link": "logistic"}
_VW_SIGNS: Final = str.maketrans(" :|", "___")


def _features(fields: dict[str, Any]) -> list[tuple[str, str | float]]:
    """Name and value of each feature: text for categories."""
    found: list[tuple[str, str | float]] = [(name, fields[name]) for name in _NAMED if fields.get(name) is not None]
    found.append(("hour", str(fields["ts"] // _HOUR_MS % 24)))
    for name, value in (fields.get("features") or {}).items():
        found.append(
            (name, value if isinstance(value, str) else str(value) if isinstance(value, bool) else float(value))
        )
    return found


def _river_s(lines: Sequence[bytes]) -> float:
    """Seconds of CPU of River's logistic regression with FTRL for the second half of the lines."""
    from river import linear_model, optim

    model: Any = linear_model.LogisticRegression(optim.FTRLProximal())
    started_s = 0.0
    half = len(lines) // 2
    for part in (lines[:half], lines[half:]):
        started_s = time.process_time()
        for line in part:
            fields = orjson.loads(line)
            given = {
                (name if isinstance(value, float) else f"{name}={value}"): (value if isinstance(value, float) else 1.0)
                for name, value in _features(fields)
            }
            model.predict_proba_one(given)
            model.learn_one(given, fields["label"] == 1)
    return time.process_time() - started_s
