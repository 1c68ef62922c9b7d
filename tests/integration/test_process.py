"""A child process is held by its folder's lock and dies with its parent."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from streams.embedded import process as process_module
from streams.embedded.process import FolderInUseError, Process, ProcessError

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


def wait_until_free(folder: Path) -> None:
    """Block until nobody serves ``folder`` (pytest's timeout is the bound)."""
    with (folder / "sleep.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def test_note_and_pid_are_found_by_another_handle(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    process.start(SLEEP, note={"port": "1234"})
    found = Process.attach(tmp_path, "sleep")
    assert found is not None
    assert (found.pid, found.note) == (process.pid, {"port": "1234"})
    found.stop()
    assert not process.alive
    assert Process.attach(tmp_path, "sleep") is None
    with pytest.raises(ProcessError, match="No sleep process serves"):
        _ = found.note


def test_second_process_on_a_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    process.start(SLEEP)
    with pytest.raises(FolderInUseError, match=rf"{tmp_path}.*pid {process.pid}.*Stop that one, or choose another"):
        Process(tmp_path, "sleep").start(SLEEP)
    process.kill()


def test_killed_process_leaves_no_stale_lock(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    for _ in range(2):
        process.start(SLEEP)
        os.kill(process.pid, signal.SIGKILL)
        wait_until_free(tmp_path)
    process.kill()


def test_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    thread = threading.Thread(target=process.start, args=(SLEEP,))
    thread.start()
    thread.join()
    # The record is written after the tether asked for its death signal, so the thread's end came before or after both.
    assert process.note == {}
    assert process.alive
    process.kill()


class Interrupted(Future["subprocess.Popen[bytes]"]):
    """A child waited for by somebody who is interrupted once: before the child is spawned, or after."""

    def __init__(self, *, spawned: bool) -> None:
        super().__init__()
        self._spawned = spawned
        self._interrupted = False

    def result(self, timeout: float | None = None) -> "subprocess.Popen[bytes]":
        if self._interrupted:
            return super().result(timeout)
        self._interrupted = True
        if self._spawned:
            super().result(timeout)
        raise KeyboardInterrupt


@pytest.mark.parametrize("spawned", [False, True])
def test_start_that_is_interrupted_leaves_no_child_behind_and_the_next_start_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spawned: bool
) -> None:
    lasting = process_module._spawn_from_a_lasting_thread

    def interrupted(spawn: Callable[[], "subprocess.Popen[bytes]"]) -> Future["subprocess.Popen[bytes]"]:
        child = Interrupted(spawned=spawned)
        if spawned:
            process_module._spawns.put((spawn, child))
        return child

    process = Process(tmp_path, "sleep")
    with monkeypatch.context() as patched:
        patched.setattr(process_module, "_spawn_from_a_lasting_thread", interrupted)
        lasting(lambda: subprocess.Popen(["true"])).result().wait()  # the thread runs
        with pytest.raises(KeyboardInterrupt):
            process.start(SLEEP)
    assert process.alive == spawned
    process.kill()
    wait_until_free(tmp_path)
    process.start(SLEEP)
    process.kill()


def test_what_prevents_a_child_is_raised_and_does_not_end_the_thread_that_spawns(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    for _ in range(2):
        with pytest.raises(ValueError, match="embedded null byte"):
            process.start(["\0"])
    process.start(SLEEP)
    process.kill()


@pytest.mark.parametrize("detached", [False, True])
def test_child_dies_with_a_killed_parent_unless_detached(tmp_path: Path, detached: bool) -> None:
    parent = textwrap.dedent(f"""
        import os, pathlib, signal
        from streams.embedded.process import Process
        process = Process(pathlib.Path({str(tmp_path)!r}), "sleep")
        process.start({SLEEP!r}, detached={detached})
        process.note  # the tether has done its part
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert subprocess.run([sys.executable, "-c", parent], check=False).returncode == -signal.SIGKILL
    if detached:
        found = Process.attach(tmp_path, "sleep")
        assert found is not None
        found.kill()
    wait_until_free(tmp_path)


def test_early_end_is_told_with_the_last_log_lines(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    process.start([sys.executable, "-c", "raise SystemExit('no disk')"])
    with pytest.raises(ProcessError, match=r"ended before it was ready\.\nno disk"):
        process.wait_ready(lambda: False, bound_s=60)


def test_child_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    process.start(SLEEP)
    with pytest.raises(ProcessError, match="not ready within 0 s"):
        process.wait_ready(lambda: False, bound_s=0)
    assert not process.alive


def test_child_that_ignores_sigterm_is_killed_after_the_bound(tmp_path: Path) -> None:
    process = Process(tmp_path, "sleep")
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set', flush=True)"
    process.start([sys.executable, "-c", f"{ignoring}; time.sleep(600)"])
    process.wait_ready(lambda: "set" in process.last_log_lines(), bound_s=60)
    process.stop(bound_s=0.1)
    assert not process.alive
