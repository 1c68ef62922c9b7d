"""Checkpoints of a worker's partitions take turns: one pause of all together would delay every record."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from unittest.mock import patch

import streams.engine.runner
from streams.engine.checkpoint import write_checkpoint
from streams.engine.pace import Pace
from streams.engine.task import Task
from tests.factories import impression
from tests.strategies import T0
from tests.test_simulation import TwoPartitions

RECORDS = 200
EVERY_S = 4.0


def test_each_partition_has_a_checkpoint_in_every_interval_and_no_two_at_a_time() -> None:
    life = TwoPartitions()
    for offset in range(RECORDS):
        for partition in (0, 1):
            life.broker.inputs["impressions", partition].append(impression(f"i{offset}", T0 + offset, offset=offset))
    written: dict[int, list[float]] = defaultdict(list)

    def noted(task: Task, *, last: bool) -> None:
        if not last:
            written[id(task)].append(life.clock.monotonic())
        write_checkpoint(task, last=last)

    with patch.object(streams.engine.runner, "write_checkpoint", noted):
        life.run(150, Pace(commit_s=0.1, report_s=0.1, checkpoint_s=EVERY_S, poll_records=3))
    moments = [moment for of_task in written.values() for moment in of_task]
    assert len(moments) == len(set(moments)), "two were written in one turn"
    per_task = [of_task for of_task in written.values() if len(of_task) > 3]
    assert len(per_task) == 2
    for of_task in per_task:
        # A turn takes 0.2 s, and only one that commits writes a checkpoint.
        assert max(later - earlier for earlier, later in pairwise(of_task)) <= EVERY_S + 1.0
