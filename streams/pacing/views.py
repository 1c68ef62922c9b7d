"""What a pacing worker knows, asked from any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from streams.pacing.app import PacingApp
from streams.pacing.view import CampaignView, Summary, WorkerView

# The loop answers between two steps, which take milliseconds, some tenths of a second on a busy machine. A probe or a
# scrape waits no longer than this.
_ANSWER_S: Final = 5.0


class Found(NamedTuple):
    """The view of a campaign; None when this worker does not know it."""

    campaign: CampaignView | None


class Views:
    """The views of an app that runs on `loop`. The app's own thread reads its state: it may change at any time."""

    def __init__(self, app: PacingApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    def worker(self) -> WorkerView | None:
        """All campaigns; None when the loop does not answer within 5 s or has ended."""
        view: WorkerView | None = self._ask(self._app.view)
        return view

    def summary(self) -> Summary | None:
        """What metrics say of all; None when the loop does not answer within 5 s or has ended."""
        found: Summary | None = self._ask(self._app.summary)
        return found

    def campaign(self, campaign_id: str) -> Found | None:
        """One campaign; None when the loop does not answer within 5 s or has ended."""
        found: Found | None = self._ask(lambda: Found(self._app.view_of(campaign_id)))
        return found

    def _ask(self, look: Callable[[], Any]) -> Any:
        answer = Future[Any]()

        def respond() -> None:
            try:
                answer.set_result(look())
            except Exception as error:  # noqa: BLE001  # raised again by `result`
                answer.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(respond)
        except RuntimeError:  # the loop is closed
            return None
        try:
            return answer.result(_ANSWER_S)
        except TimeoutError:
            return None
