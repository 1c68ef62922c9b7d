"""A server run as a child process: one for each folder. It ends with its parent, unless it is detached.

The child holds an flock on ``<folder>/<name>.lock`` through an inherited descriptor. The kernel drops it when the
child ends, however it ends, so the lock is held exactly while the child runs. A process id alone would not do: the
number may belong to another process by now.
"""

import contextlib
import fcntl
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from schemas.errors import ClickfoldError
from streams.embedded import tether

POLL_S = 0.02
LOG_BYTES = 8 << 20  # one old log of this size is kept beside the current one


class ProcessError(ClickfoldError):
    """A child process did not start, was not ready in time or ended too early; the message has the end of its log."""


class FolderInUseError(ProcessError):
    """Another process serves this folder; stop that one or choose another folder."""


class Process:
    """The child process called ``name`` that serves ``folder``."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._lock_path = folder / f"{name}.lock"
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, folder: Path, name: str) -> "Process | None":
        """The process that serves ``folder`` now, whoever started it; None when nobody does."""
        process = cls(folder, name)
        return process if process.alive else None

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        note: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        detached: bool = False,
    ) -> None:
        """Run ``command`` with its output in the log. Raises FolderInUseError when the folder is served already.

        ``environment`` is added to that of this process; ``note`` (ports and so on) is kept for `attach`;
        ``descriptors`` (a listening socket and so on) are inherited. A ``detached`` child outlives this process, any
        other is killed with it. Neither gets the terminal's Ctrl-C: its parent stops it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._take_lock()
        if self._child is not None:
            self._child.wait()  # It has lost the lock, so it has ended; this collects its exit status.
        try:
            with self._open_log() as log:
                arguments = [
                    *(sys.executable, "-I", "-S", tether.__file__),
                    *("0" if detached else str(os.getpid()), str(lock), json.dumps(dict(note or {}))),
                    *command,
                ]
                kind = _DetachedChild if detached else subprocess.Popen[bytes]
                spawned = _spawn_from_a_lasting_thread(
                    lambda: kind(
                        arguments,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **(environment or {})},
                        pass_fds=[lock, *descriptors],
                        process_group=None if detached else 0,
                        start_new_session=detached,
                    )
                )
                try:
                    self._child = spawned.result()
                except BaseException:
                    # Ctrl-C: a child that was spawned all the same is one that `stop` finds.
                    if not spawned.cancel() and spawned.exception() is None:
                        self._child = spawned.result()
                    raise
        finally:
            os.close(lock)

    @property
    def alive(self) -> bool:
        """Whether the child runs, which holds the folder's lock."""
        if self._child is not None:
            return self._child.poll() is None
        try:
            lock = os.open(self._lock_path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two processes that look at the same moment do not take each other for the server.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    @property
    def pid(self) -> int:
        """Process id of the child. Raises ProcessError when none runs."""
        if self._child is not None:
            return self._child.pid
        return int(str(self._record()["pid"]))

    @property
    def note(self) -> dict[str, str]:
        """The note given at the start, also by another process. Raises ProcessError when nothing runs."""
        note = self._record()["note"]
        assert isinstance(note, dict)
        return {str(key): str(value) for key, value in note.items()}

    def wait_ready(self, probe: Callable[[], bool], *, bound_s: float) -> None:
        """Return once ``probe`` gives True. Raises ProcessError when the child ends before that. After
        ``bound_s`` it is killed, with a ProcessError too."""
        deadline = time.monotonic() + bound_s
        while not probe():
            if not self.alive:
                raise ProcessError(f"{self.name} in {self.folder} ended before it was ready.\n{self.last_log_lines()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ProcessError(
                    f"{self.name} in {self.folder} was not ready within {bound_s:.0f} s.\n{self.last_log_lines()}"
                )
            time.sleep(POLL_S)

    def stop(self, *, bound_s: float = 20.0) -> None:
        """Shut the child down (SIGTERM), and kill it after ``bound_s``. Idempotent."""
        self._signal(signal.SIGTERM)
        if not self._wait_gone(bound_s):
            self.kill()

    def kill(self) -> None:
        """Kill the child and its process group (SIGKILL). Idempotent."""
        self._signal(signal.SIGKILL)
        if not self._wait_gone(20.0):
            raise ProcessError(f"{self.name} in {self.folder} (pid {self.pid}) still runs 20 s after SIGKILL.")

    def last_log_lines(self, count: int = 20) -> str:
        """The end of the log, for error messages; empty when there is none."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16_384))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])
        except FileNotFoundError:
            return ""

    def _take_lock(self) -> int:
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        # `alive` of another process holds the lock for microseconds: three attempts exclude that.
        for attempt in range(3):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(POLL_S * (attempt + 1))
            else:
                os.ftruncate(lock, 0)
                return lock
        os.close(lock)
        raise FolderInUseError(
            f"Another {self.name} process serves folder {self.folder} already ({self._holder()}). "
            "Stop that one, or choose another folder."
        )

    def _holder(self) -> str:
        try:
            return f"pid {self._record()['pid']}"
        except ProcessError:
            return "just starting"

    def _record(self) -> dict[str, object]:
        # A child writes its record some milliseconds after it got the lock. The record of an ended one is out of date.
        while self.alive:
            written = self._lock_path.read_bytes()
            if written:
                record: dict[str, object] = json.loads(written)
                return record
            time.sleep(POLL_S)
        raise ProcessError(f"No {self.name} process serves folder {self.folder}; start one.")

    def _open_log(self) -> IO[bytes]:
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
        return self.log_path.open("ab")

    def _signal(self, number: signal.Signals) -> None:
        if not self.alive:
            return
        with contextlib.suppress(ProcessLookupError, ProcessError):
            # The group: where the tether stays as the parent (macOS), its child would outlive it.
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def _wait_gone(self, bound_s: float) -> bool:
        if self._child is not None:
            try:
                self._child.wait(bound_s)
            except subprocess.TimeoutExpired:
                return False
            return True
        deadline = time.monotonic() + bound_s
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True


class _DetachedChild(subprocess.Popen[bytes]):
    """A child that may outlive this process: no warning when this object is dropped while the child runs."""

    def __del__(self) -> None:
        pass


_Spawn = Callable[[], "subprocess.Popen[bytes]"]
_spawns: "queue.SimpleQueue[tuple[_Spawn, Future[subprocess.Popen[bytes]]]]" = queue.SimpleQueue()
_spawner_lock = threading.Lock()
_spawner: threading.Thread | None = None


def _spawn_from_a_lasting_thread(spawn: _Spawn) -> "Future[subprocess.Popen[bytes]]":
    # PR_SET_PDEATHSIG sends its signal when the *thread* that spawned ends (prctl(2)): a child started in a thread of a
    # pool would be killed with that thread. A daemon thread lives as long as the process.
    global _spawner
    with _spawner_lock:
        if _spawner is None:
            _spawner = threading.Thread(target=_spawn_all, name="spawner", daemon=True)
            _spawner.start()
    spawned: Future[subprocess.Popen[bytes]] = Future()
    _spawns.put((spawn, spawned))
    return spawned


def _spawn_all() -> None:
    while True:
        spawn, spawned = _spawns.get()
        if not spawned.set_running_or_notify_cancel():
            continue
        try:
            spawned.set_result(spawn())
        except Exception as failure:  # noqa: BLE001  # raised again where the child is waited for
            spawned.set_exception(failure)
