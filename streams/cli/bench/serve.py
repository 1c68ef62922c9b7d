"""`clickfold bench serve`: CPU of a call before HTTP, and latencies over HTTP at a given rate, on one core."""

from __future__ import annotations

import base64
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import numpy as np
import orjson
import typer

from online_models.mixture.examples import Example, read_example
from online_models.mixture.model import Mixture
from online_models.mixture.reading import Reader
from online_models.mixture.rows import HASH_VERSION
from online_models.publishing import model_records
from schemas.codec import encode
from schemas.compiled import load_kernels
from schemas.errors import SettingsError
from schemas.models import MODEL_FORMAT, ModelManifest
from schemas.records import Out
from schemas.serving import MAX_CANDIDATES, Candidate, PredictCall
from streams.cli.bench.http_load import Load, post_at_rate
from streams.cli.bench.reporting import print_nothing, print_progress
from streams.embedded.ports import free_port
from streams.inputs.files import FileLog

_BATCH: Final = 1_000
_CALLS: Final = 200
# Connections, caches and the first calls.
_WARM_UP_S: Final = 2.0
_PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
_PATH: Final = "/v1/predict"
_HOST: Final = "127.0.0.1"


def serve(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Outcomes as JSON lines, plain or .gz.")],
    rate: Annotated[int, typer.Option(min=1, help="Calls a second.")] = 200,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long.")] = 20.0,
    candidates: Annotated[int, typer.Option(min=1, max=MAX_CANDIDATES, help="Candidates of a call.")] = 100,
    rows: Annotated[int, typer.Option(min=1, help="Rows that the model has learned; the files are repeated.")] = 20_000,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")] = False,
) -> None:
    """Time calls of `clickfold serve`: CPU before HTTP, and latencies at a rate, with the server on one core.

    Calls are sent by the clock, and by vegeta too if it is installed. Candidates are rows of the files; the last third
    of their features is their own, the others are those of the call. A model counts most pairs of fields in its first
    10,000 rows, which takes longer.
    """
    say = print_nothing if json else print_progress
    examples = [
        example for _, line in FileLog(files, "outcomes").lines() if isinstance(example := read_example(line), Example)
    ]
    if not examples:
        raise SettingsError("the files have no line with a label; give files of outcomes")
    records = _model([examples[place % len(examples)] for place in range(rows)])
    bodies = [encode(call) for call in _calls(examples, candidates)]
    say(f"{rows:,} rows learned; calls of {len(bodies[0]):,} bytes")
    found: dict[str, Any] = {"candidates": candidates, "rate": rate, "seconds": seconds, "rows": rows}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        found["cpu_ms_before_http"] = process.submit(cpu_ms, records, bodies).result()
    with _server(records) as port:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            process.submit(post_at_rate, _HOST, port, _PATH, bodies, rate, _WARM_UP_S).result()
            before_s = _busy_s(port)
            load = process.submit(post_at_rate, _HOST, port, _PATH, bodies, rate, seconds).result()
        found["cpu_ms_a_call"] = round((_busy_s(port) - before_s) / (rate * seconds) * 1e3, 3)
        found["own client"] = _latencies(load)
        found["vegeta"] = _vegeta(port, bodies, rate, seconds)
    if json:
        typer.echo(orjson.dumps(found))
        return
    for name, value in found.items():
        say(f"{name:<20} {value}")


def cpu_ms(records: Sequence[Out], bodies: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds of CPU from the body of a call to the body of its answer: median and 99th percentile."""
    from streams.serve.application import predicted

    load_kernels()
    serving = _serving(records)
    took_ms = []
    for _ in range(5):
        for body in bodies:
            began_s = time.thread_time()
            predicted(body, serving)
            took_ms.append((time.thread_time() - began_s) * 1e3)
    return {"median": round(statistics.median(took_ms), 3), "p99": round(float(np.percentile(took_ms, 99)), 3)}


def _model(examples: Sequence[Example]) -> list[Out]:
    """The records of a default mixture that has learned these rows."""
    model = Mixture()
    reader = Reader(model.known, model.selection)
    lines = [encode(each) for each in examples]
    for start in range(0, len(lines), _BATCH):
        model.run(reader.read(lines[start : start + _BATCH], lambda *_: None).rows)
    manifest = ModelManifest(
        format=MODEL_FORMAT, model="ctr", shard=0, version=1, next_offset=0, event_ms=0, kind=model.kind,
        hash_version=HASH_VERSION, settings=model.config(), parts=1, bytes=1, digest="",
    )  # fmt: skip
    return model_records(manifest, model.snapshot(), "even")


def _calls(examples: Sequence[Example], candidates: int) -> list[PredictCall]:
    random, found = Random(1), []
    for _ in range(_CALLS):
        first = random.choice(examples)
        names = list(first.features or {})
        own = set(names[len(names) - len(names) // 3 :])
        drawn = [
            Candidate(
                each.campaign_id or "none",
                each.creative_id or "none",
                {name: value for name, value in (each.features or {}).items() if name in own} or None,
            )
            for each in random.choices(examples, k=candidates)
        ]
        shared = {name: value for name, value in (first.features or {}).items() if name not in own}
        found.append(PredictCall(first.ts or 0, drawn, first.placement, first.country, first.device, shared or None))
    return found


# ---- the server, in a process of its own ----------------------------------------------------------------------------


def _serving(records: Sequence[Out]) -> Any:
    from streams.serve.models import Models
    from streams.serve.progress import Serving

    serving = Serving(Models("ctr", 0), caught_up=True)
    for record in records:
        serving.models.take(record.key, record.value)
    serving.models.update()
    return serving


def serve_until_told(records: Sequence[Out], port: int, told: Connection) -> None:
    """Serves on one core, where the system can do that, until something comes through `told`.

    /cpu has the CPU seconds of the process.
    """
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from streams.serve.application import application
    from streams.serve.server import server_config
    from streams.worker.memory import collect_rarely
    from streams.worker.observe import listening

    async def cpu(_: Request) -> PlainTextResponse:
        return PlainTextResponse(str(time.process_time()))

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    load_kernels()
    collect_rarely()
    app = application(_serving(records), [Route("/cpu", cpu)])
    with listening(server_config(app, host=_HOST, port=port), stop_s=5.0):
        told.send(None)
        told.recv()


@contextmanager
def _server(records: Sequence[Out]) -> Iterator[int]:
    """The port of a server during the block."""
    spawning, port = get_context("spawn"), free_port()
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=serve_until_told, args=(records, port, theirs))
    process.start()
    try:
        ours.recv()
        yield port
        ours.send(None)
    finally:
        process.join(10.0)
        process.kill()


def _busy_s(port: int) -> float:
    with closing(HTTPConnection(_HOST, port, timeout=10.0)) as connection:
        connection.request("GET", "/cpu")
        return float(connection.getresponse().read())


# ---- what came of it ------------------------------------------------------------------------------------------------


def _latencies(load: Load) -> dict[str, float]:
    found = np.percentile(np.array(load.took_s) * 1e3, _PERCENTILES)
    named = {f"p{percent:g}_ms": round(float(value), 2) for percent, value in zip(_PERCENTILES, found, strict=True)}
    return {**named, "calls": len(load.took_s), "failed": load.failed, "client_late_ms": round(load.latest_s * 1e3, 1)}


def _vegeta(port: int, bodies: Sequence[bytes], rate: int, seconds: float) -> dict[str, Any] | None:
    """The same by vegeta, None if it is not installed."""
    if shutil.which("vegeta") is None:
        return None
    url = f"http://{_HOST}:{port}{_PATH}"
    targets = b"\n".join(
        orjson.dumps({"method": "POST", "url": url, "body": base64.b64encode(body).decode()}) for body in bodies
    )
    attack = ["vegeta", "attack", "-format=json", f"-rate={rate}", f"-duration={seconds:g}s"]
    results = subprocess.run(attack, input=targets, stdout=subprocess.PIPE, check=True).stdout
    report = subprocess.run(["vegeta", "report", "-type=json"], input=results, stdout=subprocess.PIPE, check=True)
    read = orjson.loads(report.stdout)
    latencies = {f"p{name.removesuffix('th')}_ms": round(read["latencies"][name] / 1e6, 2) for name in ("50th", "99th")}
    return {**latencies, "max_ms": round(read["latencies"]["max"] / 1e6, 2), "success": read["success"]}
