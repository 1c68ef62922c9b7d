"""Two processes in one slot would fence each other in turns: the second one does not start."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from schemas.errors import SettingsError, SlotTaken
from streams.kafka import slots
from streams.kafka.admin import Member
from streams.kafka.cluster import Cluster
from streams.kafka.process import client_id, has_ended, read_client_id, this_process
from streams.kafka.slots import Fences, Slot
from streams.worker.slot_folder import held_slot, locked

ELSEWHERE = "clickfold/0/host-b/1764388800/another.1.2"
NOBODY: list[Member] = []


class Group:
    """Kafka's answers about the members of the group, one after the other; the last one stays."""

    def __init__(self, *answers: list[Member]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.asked = 0

    def members(self, _: str) -> list[Member]:
        self.asked += 1
        assert self.asked < 1_000_000, "it waits for ever"
        return next(self._answers)


def slot_of(group: Group, *, static: bool = True, passed: dict[str, str] | None = None) -> Slot:
    with patch.object(slots, "Admin", lambda _: group):
        cluster = Cluster("nowhere:9092", passed=passed or {})
        return Slot(cluster, group="ads.join", name="0", instance_id="ads.join-0" if static else None)


def member(said: str, *, static: bool = True) -> Member:
    return Member("id", "ads.join-0" if static else "", said, "10.0.0.7")


@pytest.fixture(autouse=True)
def no_pause() -> Iterator[None]:
    with patch.object(slots, "_LOOK_S", 0.0):
        yield


def take(slot: Slot, folder: Path, *, session_timeout_s: float = 0.05) -> list[str]:
    """Takes the slot and gives what it warned of."""
    warned: list[str] = []
    held = held_slot(slot, folder, session_timeout_s=session_timeout_s, warn=warned.append, beat=lambda: None)
    with held:
        return warned


def test_second_process_in_a_folder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with locked(tmp_path, slot="7", group="join"):
        with (
            pytest.raises(SettingsError, match=r"slot 7 of group join is in use by another process .*--slot"),
            locked(tmp_path, slot="7", group="join"),
        ):
            pass
        with locked(tmp_path / "8", slot="8", group="join"):
            pass
    with locked(tmp_path, slot="7", group="join"):
        pass


@pytest.mark.parametrize("static", [True, False])
def test_worker_of_another_host_that_sends_heartbeats_after_a_session_timeout_is_named(
    tmp_path: Path, static: bool
) -> None:
    group = Group([member(ELSEWHERE, static=static)])
    with pytest.raises(
        SlotTaken,
        match=r"slot 0 of group ads\.join is taken by a worker on host host-b at 10\.0\.0\.7, started 2025-11-29 04:00",
    ):
        take(slot_of(group, static=static), tmp_path)
    assert group.asked > 2


def test_worker_of_another_host_that_the_group_misses_in_time_is_followed(tmp_path: Path) -> None:
    group = Group([member(ELSEWHERE)], [member(ELSEWHERE)], NOBODY)
    assert "waits until the group misses a worker on host host-b" in take(slot_of(group), tmp_path)[0]
    assert group.asked == 3


def test_empty_slot_another_slot_and_what_this_process_left_are_taken_at_once(tmp_path: Path) -> None:
    beside = Member("id", "", "clickfold/1/host-b/1764388800/another.1.2", "10.0.0.7")
    for members in (NOBODY, [beside], [member(client_id("0"))]):
        assert take(slot_of(Group(members)), tmp_path) == []


def test_process_of_this_host_is_known_to_have_ended_also_before_it_is_reaped(tmp_path: Path) -> None:
    code = "from streams.kafka.process import client_id; print(client_id('0'), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        said = other.stdout.readline().strip()
        heard = read_client_id(said)
        assert heard is not None
        assert not has_ended(heard[1])
        with pytest.raises(SlotTaken):
            take(slot_of(Group([member(said)])), tmp_path)
        other.kill()
        assert other.stdout.read() == ""
    assert has_ended(heard[1])
    assert take(slot_of(Group([member(said)])), tmp_path) == []
    # Another boot or container: not known.
    assert not has_ended(heard[1]._replace(id="elsewhere" + heard[1].id))


def test_process_that_had_the_lock_of_the_folder_has_ended_wherever_it_ran(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("another.1.2")
    assert take(slot_of(Group([member(ELSEWHERE)])), tmp_path) == []
    assert (tmp_path / ".lock").read_text() == this_process().id


def test_folder_of_a_worker_that_did_not_get_its_slot_still_names_the_former_process(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("former.1.2")
    with pytest.raises(SlotTaken):
        take(slot_of(Group([member(ELSEWHERE)])), tmp_path)
    assert (tmp_path / ".lock").read_text() == "former.1.2"


def test_static_member_without_a_client_id_of_ours_has_the_slot_and_no_start_time(tmp_path: Path) -> None:
    with pytest.raises(SlotTaken, match=r"a worker at 10\.0\.0\.7, whose start time is not known"):
        take(slot_of(Group([member("rdkafka")])), tmp_path)
    assert take(slot_of(Group([member("rdkafka", static=False)])), tmp_path) == []


def test_second_fence_within_a_minute_ends_a_worker_and_one_a_minute_later_does_not() -> None:
    now_s = 0.0
    fences = Fences(lambda: now_s)
    assert not fences.twice()
    now_s = 60.0
    assert not fences.twice()
    now_s = 119.9
    assert fences.twice()


def test_producer_is_fenced_only_where_another_worker_is_in_the_slot_or_may_be() -> None:
    alone = slot_of(Group(NOBODY))
    assert [alone.fenced() for _ in range(3)] == [None] * 3
    for contested in (slot_of(Group([member(ELSEWHERE)])), slot_of(Group(NOBODY), passed={"client.id": "mine"})):
        assert contested.fenced() is None
        assert "fenced twice within a minute" in str(contested.fenced())
