"""`clickfold worker pace` as a process of a test, with shorter waits than the command has."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import msgspec

from streams.embedded.broker import Broker
from streams.embedded.ports import free_port
from streams.kafka.cluster import Cluster
from streams.pacing.settings import PacingSettings
from tests.waiting import PATIENCE_S, eventually

# By campaign and calendar day of its zone: impressions, clicks, spend in micros.
Days = dict[str, dict[str, tuple[int, int, int]]]
# `clickfold worker pace`, but for how long it waits for this and that.
PROGRAM = """
import sys
import msgspec
from streams.pacing.settings import PacingSettings
from streams.worker.lifecycle import run_worker
from streams.worker.workers import PacingWorker
settings = msgspec.json.decode(sys.argv[1], type=PacingSettings, dec_hook=lambda kind, text: kind(text))
worker = PacingWorker(settings)
run_worker(
    worker,
    settings.cluster,
    metrics_host="127.0.0.1",
    metrics_port=int(sys.argv[2]),
    web=worker.web,
)
"""


class Pace:
    """A pacing worker in its own process, its log in a file of the folder."""

    def __init__(
        self, broker: Broker, topic_prefix: str, folder: Path, *, slot: str = "", before: str = "", **more: Any
    ) -> None:
        """`before` is run in its process first; `more` are settings."""
        self.log = folder / "log"
        folder.mkdir(exist_ok=True)
        self.port, self.metrics_port = free_port(), free_port()
        cluster = Cluster(broker.bootstrap, prefix=topic_prefix)
        settings = PacingSettings(
            cluster=cluster,
            group=cluster.group("pace"),
            data_dir=folder,
            web_port=self.port,
            tick_s=0.1,
            slot=slot,
            session_timeout_s=1.0,
            **more,
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    before + PROGRAM,
                    msgspec.json.encode(settings, enc_hook=str),
                    str(self.metrics_port),
                ],
                cwd=Path(__file__).parents[1],
                stderr=log,
            )

    def ready(self) -> bool:
        """Whether partitions are assigned and their state is read back."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=5) as answer:
                return int(answer.status) == 200
        except OSError:  # it does not listen yet, or says no
            assert self.process.poll() is None, self.log.read_text()
            return False

    def wait_ready(self) -> Self:
        """Returns when it is ready."""
        eventually(self.ready)
        return self

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.loads(answer.read())

    def days(self) -> Days:
        """The counters of every campaign this worker owns and has counted anything of."""
        found: Days = {}
        for campaign_id in self.get("/pacing")["campaigns"]:
            with contextlib.suppress(urllib.error.HTTPError):  # moved away between the two questions
                view = self.get(f"/pacing/{campaign_id}")
                found[campaign_id] = {
                    day["day"]: (day["impressions"], day["clicks"], day["spend_micros"]) for day in view["days"]
                }
        return {campaign_id: days for campaign_id, days in found.items() if days}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """Ends it in order; what it wrote to its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        log = self.log.read_text()
        assert self.process.returncode == 0, log
        return log
