"""Bytewax on clickfold's topics: usage bytewax_join.py BOOTSTRAP PREFIX EVENTS"""

import json
import sys
import time

import bytewax
import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

bootstrap, prefix, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
at = {}
counts = {"n": 0, "joined": 0}
totals = {}


def parsed(message):
    if not counts["n"]:
        at["first"], at["cpu"] = time.perf_counter(), time.process_time()
    counts["n"] += 1
    if counts["n"] == events:
        at["last"] = time.perf_counter()
    event = json.loads(message.value)
    if "campaign_id" in event:
        key = (event["ts"] // 60_000, event["campaign_id"], event.get("placement"))
        totals[key] = totals.get(key, 0) + 1
    return event["impression_id"], event


class Count(StatelessSinkPartition):
    def write_batch(self, items):
        for _, (impression, click) in items:
            if -5_000 <= click["ts"] - impression["ts"] <= 30 * 60_000:
                counts["joined"] += 1
        at["end"] = time.perf_counter()


class CountSink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Count()


flow = Dataflow("join")
sides = []
for role in ("impressions", "clicks"):
    source = KafkaSource([bootstrap], [prefix + role], tail=False, batch_size=10_000)
    sides.append(op.map(f"parse-{role}", op.input(role, flow, source), parsed))
op.output("out", op.join("join", *sides, emit_mode="complete"), CountSink())
cli_main(flow)
end = max(at["last"], at.get("end", 0.0))
print(
    json.dumps(
        {
            "seconds": end - at["first"],
            "cpu_s": time.process_time() - at["cpu"],
            "n": counts["n"],
            "joined": counts["joined"],
            "version": bytewax.__version__ if hasattr(bytewax, "__version__") else "",
        }
    ),
    flush=True,
)
