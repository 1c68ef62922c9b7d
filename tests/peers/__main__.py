"""clickfold's join and other systems on the same topics of one broker, in turns, each in a process of its own.

`python -m tests.peers` prints a line for each run, then medians and ranges, and writes them as JSON and as a chart.
A count of joined clicks that differs from the truth is shown; a peer that cannot be installed is named.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.cli.bench.join import bare_per_s
from streams.cli.bench.measuring import in_own_process, join_speed
from streams.embedded.broker import Broker
from streams.inputs.traffic import Filled, Traffic, fill
from streams.kafka.admin import Admin
from streams.kafka.cluster import Cluster
from streams.kafka.settings import client_settings
from tests.peers.chart import chart
from tests.peers.environments import PROGRAMS, MissingPeerError, java_of, python_of

PARTITIONS: Final = 4
_LONGEST_S: Final = 420.0
# Peers below 50,000 events/s get so many impressions and rounds.
_FEW, _FEW_ROUNDS = 300_000, 3


@dataclass(frozen=True, slots=True)
class Job:
    """Topics that are filled: where, how much is in them, and how many clicks have an impression."""

    cluster: Cluster
    filled: Filled

    @property
    def events(self) -> int:
        """Records of both logs."""
        return self.filled.impressions + self.filled.clicks


@dataclass(frozen=True, slots=True)
class System:
    """One way to do the job. `guarantee` is what its output promises; `slow`: on few events."""

    name: str
    guarantee: str
    run: Callable[[Job, Path], dict[str, Any]]
    slow: bool = False


# ---- systems --------------------------------------------------------------------------------------------------------


def _bare(job: Job, _: Path) -> dict[str, Any]:
    speed = in_own_process(bare_per_s, job.cluster, PARTITIONS, job.events)
    return {"seconds": job.events / speed, "n": job.events}


def _clickfold(job: Job, folder: Path) -> dict[str, Any]:
    found = in_own_process(join_speed, job.cluster, folder, job.events)
    return {"seconds": found.took_s, "cpu_s": found.cpu_s, "n": job.events, "joined": found.joined}


def _program(arguments: list[str], folder: Path) -> dict[str, Any]:
    """The last line of JSON that a program prints."""
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _python(lock: str, program: str, *more: str, expected: bool = False) -> Callable[[Job, Path], dict[str, Any]]:
    def run(job: Job, folder: Path) -> dict[str, Any]:
        python = Path(sys.executable) if not lock else python_of(lock, _say)
        at = [job.cluster.bootstrap, job.cluster.prefix, str(job.events)]
        at += [str(job.filled.clicks)] if expected else []
        filled_in = [str(folder) if each == "STATE" else each for each in more]
        return _program([str(python), str(PROGRAMS / program), *at, *filled_in], folder)

    return run


def _streams(guarantee: str, threads: int) -> Callable[[Job, Path], dict[str, Any]]:
    def run(job: Job, folder: Path) -> dict[str, Any]:
        java, *path = java_of("KafkaStreamsJoin", _say)
        where = [job.cluster.bootstrap, job.cluster.prefix, str(job.events), str(job.filled.clicks)]
        command = [java, "-Xms1g", "-Xmx2g", *path, "KafkaStreamsJoin", guarantee, *where, str(threads), str(folder)]
        return _program(command, folder)

    return run


def _flink(state: str, parallelism: int) -> Callable[[Job, Path], dict[str, Any]]:
    def run(job: Job, folder: Path) -> dict[str, Any]:
        java, *path = java_of("FlinkJoin", _say)
        opens = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.util", "java.lang", "java.time")]
        where = [job.cluster.bootstrap, job.cluster.prefix, str(job.events), str(job.filled.clicks)]
        command = [java, "-Xms2g", "-Xmx6g", *opens, *path, "FlinkJoin", *where, str(parallelism), str(folder), state]
        return _program(command, folder)

    return run


SYSTEMS: Final = [
    System("bare consumer", "reads only", _bare),
    System("clickfold", "exactly once, all outputs", _clickfold),
    System("Kafka Streams, 1 thread", "exactly once", _streams("eos", 1)),
    System("Kafka Streams, 2 threads", "exactly once", _streams("eos", 2)),
    System("Flink, heap", "exactly once in state", _flink("hashmap", 1)),
    System("Flink, heap, 2 slots", "exactly once in state", _flink("hashmap", 2)),
    System("Flink, RocksDB", "exactly once in state", _flink("rocksdb", 1)),
    System("Pathway", "at least once, nothing evicted", _python("pathway", "pathway_join.py", "plain")),
    System("Pathway, interval", "at least once", _python("pathway", "pathway_join.py", "interval")),
    System(
        "Quix",
        "at least once",
        _python("quixstreams", "quix_join.py", "STATE", "at-least-once", expected=True),
        slow=True,
    ),
    System("Faust", "none: a dict", _python("", "faust_join.py", expected=True), slow=True),
    System("Bytewax", "none: in memory", _python("bytewax", "bytewax_join.py"), slow=True),
]


# ---- rounds ---------------------------------------------------------------------------------------------------------


@contextmanager
def jobs(impressions: int, *, few: bool) -> Iterator[dict[bool, Job]]:
    """The job of fast systems, and with `few` that of slow ones, on one broker."""
    with tempfile.TemporaryDirectory(prefix="clickfold-peers-") as folder, Broker(Path(folder) / "kafka") as broker:
        yield {
            slow: _filled(broker, "few." if slow else "many.", min(impressions, _FEW) if slow else impressions)
            for slow in ((False, True) if few else (False,))
        }


def _filled(broker: Broker, prefix: str, impressions: int) -> Job:
    _say(f"filling {impressions:,} impressions …")
    cluster = Cluster(broker.bootstrap, prefix=prefix)
    Admin(cluster).create(partitions=PARTITIONS)
    # The output of Kafka Streams.
    client = AdminClient(client_settings(cluster))
    for made in client.create_topics([NewTopic(f"{prefix}ks-joined", PARTITIONS, 1)]).values():
        made.result()
    return Job(cluster, fill(cluster, Traffic(impressions=impressions, seed=7, end_ms=round(time.time() * 1_000))))


def measured(system: System, job: Job) -> dict[str, Any]:
    """One run; `failed` says why there is no figure."""
    with tempfile.TemporaryDirectory(prefix="clickfold-peer-") as folder:
        try:
            found = system.run(job, Path(folder))
        except MissingPeerError as missing:
            return {"failed": f"cannot be installed: {missing}"}
        except (RuntimeError, subprocess.TimeoutExpired) as failure:
            return {"failed": str(failure)}
    figures = {"events_per_s": found["n"] / found["seconds"], "events": found["n"]}
    if "cpu_s" in found:
        figures["cpu_us_per_event"] = found["cpu_s"] / found["n"] * 1e6
    if "joined" in found:
        figures["joined"], figures["clicks"] = found["joined"], job.filled.clicks
    return figures


def medians(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """By system: median and range of events a second, as a multiple of the bare consumer in the same round, and CPU."""
    bare = [run.get("events_per_s") for run in runs.get("bare consumer", [])]
    found: dict[str, dict[str, Any]] = {}
    for name, of_system in runs.items():
        good = [run for run in of_system if "failed" not in run]
        if not good:
            found[name] = {"failed": of_system[0]["failed"]}
            continue
        speeds = [run["events_per_s"] for run in good]
        ratios = [
            run["events_per_s"] / beside
            for run, beside in zip(of_system, bare, strict=False)
            if "failed" not in run and beside
        ]
        costs = [run["cpu_us_per_event"] for run in good if "cpu_us_per_event" in run]
        found[name] = {
            "events_per_s": round(statistics.median(speeds)),
            "range": [round(min(speeds)), round(max(speeds))],
            "rounds": len(good),
            "failed_rounds": len(of_system) - len(good),
            "to_bare": round(statistics.median(ratios), 3) if ratios else None,
            "cpu_us_per_event": round(statistics.median(costs), 2) if costs else None,
            "joined": good[-1].get("joined"),
            "clicks": good[-1].get("clicks"),
        }
    return found


def main() -> int:
    """Exit code 0: clickfold joined every click."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="names of systems that contain one of these, separated by commas")
    parser.add_argument("--to", type=Path, default=Path(), help="folder of peers.json and peers.svg")
    given = parser.parse_args()
    wanted = [part.strip().lower() for part in given.only.split(",") if part.strip()]
    systems = [each for each in SYSTEMS if not wanted or any(part in each.name.lower() for part in wanted)]
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with jobs(given.impressions, few=any(each.slow for each in systems)) as ready:
        for number in range(1, given.rounds + 1):
            for system in systems:
                if (system.slow and number > _FEW_ROUNDS) or (runs[system.name][-1:] and _hopeless(runs[system.name])):
                    continue
                found = measured(system, ready[system.slow])
                runs[system.name].append(found)
                _say(f"round {number}, {system.name}: {_sentence(found)}")
    result = medians(runs)
    given.to.mkdir(parents=True, exist_ok=True)
    whole = {"impressions": given.impressions, "cores": os.cpu_count(), "systems": result, "runs": runs}
    (given.to / "peers.json").write_text(json.dumps(whole, indent=2) + "\n")
    (given.to / "peers.svg").write_text(chart(result))
    for system in systems:
        print(f"{system.name:26} {_sentence(result[system.name])}   {system.guarantee}")
    own = result.get("clickfold", {})
    return int(own.get("joined") != own.get("clicks"))


def _hopeless(of_system: list[dict[str, Any]]) -> bool:
    return "cannot be installed" in of_system[-1].get("failed", "")


def _sentence(found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"failed: {found['failed']}"
    text = f"{found['events_per_s']:,.0f} events/s"
    if "range" in found:
        text += f" ({found['range'][0]:,} to {found['range'][1]:,})"
    if found.get("to_bare"):
        text += f", {found['to_bare']:.3f} of bare"
    if found.get("cpu_us_per_event"):
        text += f", {found['cpu_us_per_event']:.1f} µs of CPU"
    if found.get("joined") is not None:
        text += f", {found['joined']:,} of {found['clicks']:,} joined"
    return text


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
