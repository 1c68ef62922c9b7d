"""`clickfold bench ingest`: what a mapping and a format cost, beside clickfold's own form in the same run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import orjson
import typer

from schemas.bounds import JoinBounds
from schemas.compiled import load_kernels
from streams.cli.bench.measuring import in_own_process, memory_mb
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.cli.commands.fold import interleaved, outcome_line
from streams.cli.connections import cluster_to_measure
from streams.cli.mapping import read_mapping_file
from streams.inputs.traffic import Traffic
from streams.join.fold import JoinFold
from streams.state.disk import Folder

_END_MS: Final = 1_790_000_000_000
_SWEEP_OUTCOMES: Final = 50_000
_ROWS: Final = 50_000
_PARTITIONS: Final = 4
_OWN: Final = "own form, JSON lines"
# The same events under other names: times in seconds with a fraction, prices in units.
_FIELDS: Final = """
campaign_id = "{of}cid"
creative_id = "{of}crid"
price_micros = {{ path = "{of}cost", unit = "units" }}
country = {{ path = "{geo}country", optional = true }}
device = {{ path = "{geo}device", optional = true }}
feature_patterns = ["{of}features.*"]
"""
_CLICKS: Final = """
[clicks]
click_id = "{of}k"
impression_id = "{of}id"
ts = {{ path = "{of}t", unit = "s" }}
"""
_FLAT: Final = '[impressions]\nimpression_id = "id"\nts = { path = "t", unit = "s" }' + _FIELDS.format(of="", geo="")
_NESTED: Final = '[impressions]\nimpression_id = "imp.id"\nts = { path = "imp.t", unit = "s" }' + _FIELDS.format(
    of="imp.", geo="user.geo."
)


class _Way(NamedTuple):
    """Files of one form, and their mapping; none for clickfold's own form."""

    name: str
    impressions: Path
    clicks: Path
    mapping: str


class _Measured(NamedTuple):
    cpu_s: float
    peak_mb: float
    outcomes: int


def ingest(
    impressions: Annotated[int, typer.Option(min=1_000, help="Impressions to generate; 1 % are clicked.")] = 300_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured, in turns.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Join the same events from files of several forms, and map them from a topic with the worker `ingest`."""
    say = print_nothing if json else print_progress
    load_kernels()
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder:
        say(f"writing {impressions:,} impressions …")
        ways, events = _written(Path(folder), impressions)
        measured: dict[str, list[_Measured]] = {way.name: [] for way in ways}
        for number in range(rounds):
            for way in ways:
                measured[way.name].append(in_own_process(_measure, way))
            say(f"round {number + 1} of {rounds} is done")
        topics = _topics(ways[1], Path(folder), rounds, say)
    figures = {name: _figures(each, events) for name, each in measured.items()}
    for each in figures.values():
        each["ratio"] = round(each["events_per_cpu_s"] / figures[_OWN]["events_per_cpu_s"], 2)
    if json:
        typer.echo(orjson.dumps({"events": events, "rounds": rounds, "forms": figures, "topic": topics}))
        return
    for name, each in figures.items():
        say(
            f"{name:<24}{each['events_per_cpu_s']:>10,} a second of CPU{each['ratio']:>6.2f}{each['peak_mb']:>6,.0f} MB"
        )


def _topics(way: _Way, folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The worker `ingest` on a topic of both logs, beside a consumer that only reads it."""
    from streams.cli.bench.ingest_topics import filled, one_round

    values = [line for path in (way.impressions, way.clicks) for line in path.read_bytes().splitlines()]
    # In one topic a condition must tell the logs apart: clicks alone have an id of their own.
    mapping = folder / "topic.toml"
    mapping.write_text(
        Path(way.mapping).read_text()
        + "[clicks.where]\nk = { exists = true }\n[impressions.where]\nk = { exists = false }\n"
    )
    with cluster_to_measure(folder) as cluster:
        say(f"filling a topic with {len(values):,} records …")
        filled(cluster, values, _PARTITIONS)
        measured = []
        for number in range(rounds):
            state_dir = folder / f"state-{number}"
            measured.append(one_round(cluster, str(mapping), state_dir, len(values), _PARTITIONS))
            bare, bare_us, ingested, cpu_us = measured[-1]
            ratio = _part(ingested, bare)
            say(
                f"round {number + 1}: bare {bare:,.0f}, ingest {ingested:,.0f} records/s, ratio {ratio:.2f}; "
                f"{bare_us:.2f} and {cpu_us:.2f} µs of CPU a record, ratio {_part(bare_us, cpu_us):.2f}"
            )
    return {
        "records": len(values),
        "bare_per_s": round(statistics.median(each.bare_per_s for each in measured)),
        "ingest_per_s": round(statistics.median(each.ingest_per_s for each in measured)),
        "ratio": round(statistics.median(_part(each.ingest_per_s, each.bare_per_s) for each in measured), 2),
        "bare_cpu_us": round(statistics.median(each.bare_cpu_us for each in measured), 2),
        "ingest_cpu_us": round(statistics.median(each.ingest_cpu_us for each in measured), 2),
    }


def _part(one: float, other: float) -> float:
    """Their quotient; 0 where there were too few records to measure."""
    return one / other if other else 0.0


def _figures(measured: list[_Measured], events: int) -> dict[str, Any]:
    return {
        "events_per_cpu_s": round(events / statistics.median(each.cpu_s for each in measured)),
        "peak_mb": max(each.peak_mb for each in measured),
        "outcomes": measured[0].outcomes,
    }


def _measure(way: _Way) -> _Measured:
    """Joins the files as `fold` does, without writing the outcomes anywhere."""
    # Before the clock starts, as the kernels: it takes as long as 50,000 events.
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    load_kernels()
    mapped = read_mapping_file(way.mapping)
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as folder:
        started_s = time.process_time()
        join = JoinFold(JoinBounds(), Folder(Path(folder)), shown=False)
        logs = mapped.logs([way.impressions], [way.clicks])
        outcomes = 0
        for records in interleaved({log: files.batches() for log, files in logs.items()}, None, join):
            outcomes += _lines(join.step(records))
            while join.can_sweep():
                outcomes += _lines(join.sweep(_SWEEP_OUTCOMES))
        join.finish()
        while join.can_sweep():
            outcomes += _lines(join.sweep(_SWEEP_OUTCOMES))
        join.close()
        return _Measured(time.process_time() - started_s, memory_mb("self")[1], outcomes)


def _lines(outs: Any) -> int:
    return b"".join([outcome_line(out.value or b"") for out in outs if out.topic == "outcomes"]).count(b"\n")


def _written(folder: Path, impressions: int) -> tuple[list[_Way], int]:
    """The files of each form, and how many events they have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made: dict[str, list[bytes]] = {"impressions": [], "clicks": []}
    for shown, clicks in Traffic(impressions=impressions, seed=7, end_ms=_END_MS).batches():
        made["impressions"] += shown.values
        made["clicks"] += clicks.values
    ways = []
    for name, form, mapping in (
        (_OWN, dict, ""),
        ("mapped, flat", _flat, _FLAT + _CLICKS.format(of="")),
        ("mapped, nested", _nested, _NESTED + _CLICKS.format(of="imp.")),
    ):
        paths = [folder / f"{name} {log}.jsonl" for log in made]
        for path, values in zip(paths, made.values(), strict=True):
            path.write_bytes(b"".join(orjson.dumps(form(orjson.loads(value))) + b"\n" for value in values))
        file = folder / f"{name}.toml"
        file.write_text(mapping)
        ways.append(_Way(name, paths[0], paths[1], str(file) if mapping else ""))
    for log, values in made.items():
        rows = (orjson.loads(value) for value in values)
        writer = None
        while part := list(islice(rows, _ROWS)):
            table = pa.Table.from_pylist(part, schema=writer.schema if writer else None)
            writer = writer or pq.ParquetWriter(folder / f"{log}.parquet", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    ways.append(_Way("own form, Parquet", folder / "impressions.parquet", folder / "clicks.parquet", ""))
    return ways, sum(map(len, made.values()))


def _flat(event: dict[str, Any]) -> dict[str, Any]:
    """The event under other names and in other units."""
    names = {"impression_id": "id", "click_id": "k", "campaign_id": "cid", "creative_id": "crid"}
    flat = {names.get(name, name): value for name, value in event.items() if name not in ("ts", "price_micros")}
    flat["t"] = event["ts"] / 1_000
    if "price_micros" in event:
        flat["cost"] = event["price_micros"] / 1_000_000
    return flat


def _nested(event: dict[str, Any]) -> dict[str, Any]:
    """The same within objects, with fields around it that nobody reads."""
    flat = _flat(event)
    geo = {name: flat.pop(name) for name in ("country", "device") if name in flat}
    return {"schema": "shop/ad/1-0-0", "imp": flat, "user": {"geo": geo, "agent": "Mozilla/5.0"}, "tags": ["a", "b"]}
