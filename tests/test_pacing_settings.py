"""Settings of the pacing worker are refused with the remedy; its view shows every day of every campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import SettingsError
from schemas.topics import DAY_MS
from streams.kafka.cluster import Cluster
from streams.pacing.settings import PacingSettings
from streams.pacing.shard import Shard
from streams.pacing.view import campaign_view
from tests.test_pacing_counters import DAY, total


def test_the_changelog_is_named_for_the_group() -> None:
    cluster = Cluster("one:9092", prefix="x.")
    settings = PacingSettings(cluster=cluster, group=cluster.group("pace"), data_dir=Path())
    assert (settings.group, settings.changelog) == ("x.pace", "x.pace-state-changelog")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"tick_s": 0.0}, "tick"),
        ({"session_timeout_s": 0.1}, "session timeout"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        PacingSettings(cluster=Cluster("one:9092"), group="pace", data_dir=Path(), **wrong)


def test_a_view_lists_every_day_of_every_campaign() -> None:
    shard = Shard()
    shard.count([total(version=1, day=DAY), total(version=1, day=DAY + 1, amount=2)])
    view = campaign_view(shard, "c1")
    assert view is not None
    assert (view.timezone, view.campaign, view.decision) == ("UTC", None, None)
    assert [(day.day_start, day.clicks, day.spend_micros) for day in view.days] == [
        (DAY * DAY_MS, 1, 5),
        ((DAY + 1) * DAY_MS, 2, 10),
    ]
