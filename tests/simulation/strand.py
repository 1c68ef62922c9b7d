"""One worker's thread, run a piece at a time: of all strands and the scheduler just one runs at any moment."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread


class Crashed(BaseException):
    """The process is gone: nothing in it may catch this."""


class Strand:
    """`body` in a thread of its own that moves only within `resume`."""

    def __init__(self, body: Callable[[], None]) -> None:
        self._body = body
        self._go, self._back = Lock(), Lock()
        self._go.acquire()
        self._back.acquire()
        self._thread = Thread(target=self._run, daemon=True)
        self._started = self._abandoned = False
        self.running = self.done = False
        self.error: BaseException | None = None

    def resume(self) -> None:
        """Lets it run until it passes on or ends; `error` is what it ended with."""
        self.running = True
        if self._started:
            self._go.release()
        else:
            self._started = True
            self._thread.start()
        self._back.acquire()
        self.running = False
        if self.done:
            self._thread.join()

    def pass_on(self) -> None:
        """From within the body: the scheduler's turn. Raises Crashed when there is no coming back."""
        self._back.release()
        self._go.acquire()
        if self._abandoned:
            raise Crashed

    def abandon(self) -> None:
        """Ends it where it stands."""
        self._abandoned = True
        if not self._started:
            self.done = True
        while not self.done:
            self.resume()

    def _run(self) -> None:
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001  # whatever ends it is judged by the scheduler
            self.error = error
        self.done = True
        self._back.release()
