"""Faust on clickfold's topics: usage faust_join.py BOOTSTRAP PREFIX EVENTS EXPECTED_JOINED

Impressions wait in a dict, without a changelog and without an end: less than a table of Faust would cost.
"""

import asyncio
import json
import logging
import os
import sys
import threading
import time

import faust

bootstrap, prefix, events, expected = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
logging.basicConfig(level=logging.ERROR)
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
app = faust.App(
    f"faust{time.time():.0f}",
    broker=f"kafka://{bootstrap}",
    store="memory://",
    topic_disable_leader=True,
    topic_allow_declare=False,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
    stream_buffer_maxsize=16_384,
    datadir=f"/tmp/faust-{os.getpid()}",
)
topics = {role: app.topic(prefix + role, value_type=bytes, value_serializer="raw") for role in ("impressions", "clicks")}
open_impressions, waiting, totals, at = {}, {}, {}, {}
counts = {"n": 0, "joined": 0}


def seen():
    if not counts["n"]:
        at["first"], at["cpu"] = time.perf_counter(), time.process_time()
    counts["n"] += 1
    if counts["n"] == events:
        at["last"] = time.perf_counter()


def match(impression, click):
    if -5_000 <= click["ts"] - impression["ts"] <= 30 * 60_000:
        counts["joined"] += 1


@app.agent(topics["impressions"])
async def impressions(stream):
    async for value in stream:
        seen()
        event = json.loads(value)
        key = (event["ts"] // 60_000, event["campaign_id"], event.get("placement"))
        totals[key] = totals.get(key, 0) + 1
        open_impressions[event["impression_id"]] = event
        for click in waiting.pop(event["impression_id"], ()):
            match(event, click)


@app.agent(topics["clicks"])
async def clicks(stream):
    async for value in stream:
        seen()
        event = json.loads(value)
        impression = open_impressions.get(event["impression_id"])
        if impression is None:
            waiting.setdefault(event["impression_id"], []).append(event)
        else:
            match(impression, event)


def watch():
    while "last" not in at:
        time.sleep(0.05)
    until = time.perf_counter() + 5
    while counts["joined"] < expected and time.perf_counter() < until:
        time.sleep(0.02)
    found = {
        "seconds": at["last"] - at["first"],
        "cpu_s": time.process_time() - at["cpu"],
        "n": counts["n"],
        "joined": counts["joined"],
        "version": faust.__version__,
    }
    print(json.dumps(found), flush=True)
    os._exit(0)


threading.Thread(target=watch, daemon=True).start()


async def serve():
    # As clickfold runs it: faust.Worker would set up logging and the process.
    app.in_worker = True
    await app.start()
    await asyncio.Event().wait()


loop.run_until_complete(serve())
