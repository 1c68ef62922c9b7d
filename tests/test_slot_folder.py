"""Two processes in one slot would fence each other in turns: the second one does not start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from streams.kafka.cluster import Cluster
from streams.worker.runners import WorkerSettings, state_folder


def test_second_process_in_a_slot_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    settings = WorkerSettings(cluster=Cluster("nowhere:9092"), state_dir=tmp_path, group="join", slot="7")
    with state_folder(settings) as folder:
        assert folder == tmp_path / "join" / "7"
        with (
            pytest.raises(SettingsError, match=r"slot 7 of group join is in use by another process .*--slot"),
            state_folder(settings),
        ):
            pass
        # Beside it, another slot and another group go on.
        with state_folder(replace(settings, slot="8")), state_folder(replace(settings, group="learn")):
            pass
    with state_folder(settings):
        pass
