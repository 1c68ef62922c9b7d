"""`clickfold rejects redrive` during a chaos run: started, killed in the middle, and given again; each record once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import orjson

from schemas.reading import Unreadable, event_of
from schemas.rejects import Reason
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_log
from streams.redrive.letters import Letters, Spot, redriven
from tests.chaos_load import MENDABLE, MENDING

_REASONS = (Reason.KEY, Reason.UNDECODABLE, Reason.MAPPING)
_TIMEOUT_S = 90.0
_TRIES = 5
_AGAIN = b"give the same command again, which sends none twice"


class Redriver:
    """Commands that redrive what the load has that can be mended; one at a time."""

    def __init__(self, folder: Path, environment: Mapping[str, str], lateness: str) -> None:
        mapping = folder / "mending.toml"
        mapping.write_text(MENDING)
        self._log_path = folder / "redrive.log"
        self._environment = environment
        self._command = [sys.executable, "-m", "streams.cli", "rejects", "redrive", "--json", "--older"]
        self._command += ["--reason", ",".join(_REASONS), "--map", str(mapping), "--lateness", lateness]
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0

    def start(self) -> None:
        """Begins a command, which later faults may strike; one that runs is killed first."""
        self.kill()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        self.started += 1

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def finish(self) -> None:
        """Redrives all that is left, then once more: nothing is sent again."""
        self.kill()
        self._redriven()
        assert not self._redriven(), "records were sent a second time"

    def _redriven(self) -> dict[str, int]:
        """What a command has sent, given again where Kafka was too slow for it."""
        for _ in range(_TRIES):
            done = subprocess.run(
                self._command, env=self._environment, capture_output=True, timeout=_TIMEOUT_S, check=False
            )
            if done.returncode == 0:
                sent: dict[str, int] = orjson.loads(done.stdout)["sent"]
                return sent
            if _AGAIN not in done.stderr:
                break
        raise AssertionError(done.stderr.decode()[-2_000:])


def redriven_wrongly(cluster: Cluster, partitions: int) -> list[str]:
    """What differs between the dead letters that can be mended, what is said to be redriven, and the records sent."""
    wanted = Counter(
        Spot.of_letter(letter)
        for letter in Letters(cluster, reasons=set(_REASONS))
        if f'"{MENDABLE}i'.encode() in letter.prefix
    )
    said = list(redriven(cluster))
    found = Counter(Spot(each.topic, each.partition, each.offset) for each in said)
    differ = [
        f"{spot}: {wanted[spot]} dead letters, redriven {found[spot]} times"
        for spot in wanted | found
        if (wanted[spot], found[spot]) != (1, 1)
    ]
    sent = Counter((each.to_partition, each.ts) for each in said)
    there = Counter(
        (partition, event.ts)
        for partition in range(partitions)
        for record in read_log(cluster, "impressions", partition)
        if record.key is not None
        and record.key.startswith(MENDABLE.encode())
        and not isinstance(event := event_of("impressions", record.value), Unreadable)
    )
    differ += [
        f"event of {at}: redriven {sent[at]} times, sent {there[at]}" for at in sent | there if sent[at] != there[at]
    ]
    return differ if said else ["nothing was redriven"]
