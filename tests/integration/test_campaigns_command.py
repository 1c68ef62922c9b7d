"""`clickfold campaigns` beside the worker `pace`: what is written comes into force, is refused, or waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from msgspec.structs import replace

from schemas.codec import encode
from schemas.events import Campaign
from streams.campaigns.book import Book, Written
from streams.campaigns.edit import next_version
from streams.kafka.cluster import Cluster
from streams.kafka.reads import read_log
from streams.kafka.sender import Sender
from tests.integration.test_gate_worker import cluster as cluster
from tests.integration.test_pace_worker import PARTITIONS, Start
from tests.integration.test_pace_worker import start as start
from tests.waiting import eventually

pytestmark = pytest.mark.broker


def run(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "CLICKFOLD_TOPIC_PREFIX": cluster.prefix,
        "COLUMNS": "160",
    }
    command = [sys.executable, "-m", "streams.cli", "campaigns", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def written(cluster: Cluster) -> int:
    return sum(len(read_log(cluster, "campaigns", partition)) for partition in range(PARTITIONS))


def test_campaigns_are_announced_changed_paused_and_their_history_is_shown(cluster: Cluster, start: Start) -> None:
    waiting = run(cluster, "set", "c1", "--new", "--daily-budget", "12.50", "--currency", "EUR", "--wait", "0")
    assert (waiting.returncode, waiting.stdout) == (0, "")
    assert waiting.stderr.startswith("version 0 of c1 is written; it comes into force once")
    # A change is made on top of one that waits.
    assert run(cluster, "set", "c1", "--daily-budget", "15", "--wait", "0").stderr.startswith("version 1 of c1 is")
    start("pace")
    eventually(lambda: len(Book(cluster).history("c1")) == 2)

    paused = run(cluster, "pause", "c1", "--wait", "60")
    assert (paused.stdout, paused.stderr, paused.returncode) == ("version 2 of c1 is in force\n", "", 0)
    assert run(cluster, "pause", "c1").stdout == "c1 is so already, since version 2\n"
    (listed,) = map(json.loads, run(cluster, "list", "--json").stdout.splitlines())
    assert listed["campaign"]["status"] == "paused"
    assert listed["campaign"]["daily_budget_micros"] == 15_000_000
    assert "15.00" in run(cluster, "list").stdout
    assert "status" in run(cluster, "show", "c1").stdout
    table = run(cluster, "history", "c1").stdout
    assert "daily budget 15" in table
    assert "status paused" in table

    terms = ("--hourly-cap", "2", "--dayparts", "mon-fri 9-18", "--shared-budget", "spring=40", "--priority", "3")
    assert run(cluster, "set", "c1", *terms, "--frequency", "3/24h", "--wait", "60").returncode == 0
    shown = run(cluster, "show", "c1").stdout
    for line in ("hourly cap", "mon-fri 9-18", "spring", "frequency period"):
        assert line in shown
    assert "hourly cap 2" in run(cluster, "history", "c1").stdout
    (listed,) = map(json.loads, run(cluster, "list", "--json").stdout.splitlines())
    assert (listed["campaign"]["shared_budget_micros"], listed["campaign"]["frequency_period_s"]) == (40_000_000, 86400)
    assert run(cluster, "set", "c1", "--shared-budget", "", "--frequency", "", "--wait", "60").returncode == 0
    (listed,) = map(json.loads, run(cluster, "list", "--json").stdout.splitlines())
    assert {"budget_id", "priority", "frequency_cap"}.isdisjoint(listed["campaign"])

    before = written(cluster)
    for arguments, said in (
        (("set", "c1", "--daily-budget", "-1"), "daily_budget_micros: expected `int` >= 0"),
        (("set", "c1", "--daily-budget", "many"), "--daily-budget is 'many'; give an amount"),
        (("set", "c1", "--currency", "USD"), "currency 'USD' in place of 'EUR'"),
        (("set", "c1", "--timezone", "Mars/Olympus"), "no time zone has the name 'Mars/Olympus'"),
        (("set", "c1", "--curve", "0.5,0.6"), "curve has 2 shares; give 24"),
        (("set", "c1", "--curve", ",".join(["0.1"] * 24)), "curve sums to 2.4; give shares of the day's budget"),
        (("set", "c1", "--lifetime-budget", "500"), "lifetime_budget_micros needs a flight; give start and end too"),
        (("set", "c1", "--start", "tomorrow"), "--start 'tomorrow' is not a time; write it as"),
        (("set", "c1", "--daily-budget", "1e999999999"), "--daily-budget is '1e999999999'; give an amount"),
        (("set", "c1", "--daily-budget", "1e-999999999"), "--daily-budget is '1e-999999999', which has more than six"),
        (("set", "c1", "--hourly-cap", "-2"), "hourly_cap_micros: expected `int` >= 1"),
        (("set", "c1", "--dayparts", "funday 9-18"), "dayparts has the day 'funday'; there are mon, tue"),
        (("set", "c1", "--priority", "2"), "priority needs a shared budget"),
        (("set", "c1", "--shared-budget", "spring"), "--shared-budget is 'spring'; give a name and an amount a day"),
        (("set", "c1", "--frequency", "3"), "--frequency is '3'; give a count and a period, such as 3/24h"),
        (("set", "c1", "--max-multiplier", "nan"), "max_bid_multiplier is not finite"),
        (("set", "c1"), "nothing is to be changed"),
        (("resume", "c2"), "there is no campaign 'c2'"),
        (("show", "c2"), "there is no campaign 'c2'"),
    ):
        refused = run(cluster, *arguments)
        assert refused.returncode == 2, arguments
        assert said in refused.stderr, arguments
        assert "Traceback" not in refused.stderr
    assert written(cluster) == before

    # Two that look at the same moment write one version; the gate accepts the first, and the second hears of it.
    book = Book(cluster)
    mine = next_version(book.of("c1"), "c1", {"daily_budget_micros": 1})
    assert isinstance(mine, Campaign)
    with Sender(cluster) as sender:
        sender.send("campaigns", [(b"c1", encode(replace(mine, daily_budget_micros=2)), -1)])
    assert book.write(mine, wait_s=60.0) == Written("overtaken")
    in_force = book.of("c1").in_force("c1")
    assert in_force is not None
    assert in_force.daily_budget_micros == 2
