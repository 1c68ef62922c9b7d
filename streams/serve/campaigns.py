"""Campaigns over HTTP, for who has the token: read them, announce them, change their budgets and state.

A change is a record of `ads.campaigns`, as any producer writes it, and the gate in the worker `pace` judges it. These
calls are few and wait for Kafka, so each runs in a thread, and only some run at once.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.campaigns import CampaignChange
from schemas.errors import ClickfoldError
from schemas.events import Campaign
from schemas.serving import CampaignFacts, CampaignList, CampaignPast, Refused
from streams.campaigns.book import Written
from streams.campaigns.edit import Refusal, next_version
from streams.campaigns.judge import Campaigns
from streams.serve.decisions import Decisions
from streams.serve.limits import CALL_S
from streams.serve.responses import answered, refused, whole_body

# A person or a nightly job makes them; auctions go before.
MAX_AT_ONCE: Final = 4
# Well within the time of a call.
_JUDGED_S: Final = 5.0
assert _JUDGED_S < CALL_S
_STATUS: Final = {
    "unknown": HTTPStatus.NOT_FOUND,
    "exists": HTTPStatus.CONFLICT,
    "refused": HTTPStatus.CONFLICT,
    "field": HTTPStatus.UNPROCESSABLE_ENTITY,
}


class CampaignBook(Protocol):
    """Where campaigns are read and written, see `streams.campaigns.book.Book`."""

    def of(self, campaign_id: str) -> Campaigns: ...

    def all(self) -> Iterable[Campaigns]: ...

    def history(self, campaign_id: str) -> list[CampaignChange]: ...

    def write(self, campaign: Campaign, *, wait_s: float) -> Written: ...


class CampaignCalls:
    """The calls. `token` is what a client must send; without one all are refused. `book` is called at each call."""

    def __init__(self, token: str, book: Callable[[], CampaignBook], decisions: Decisions) -> None:
        self._token = token.encode()
        self._book = book
        self._decisions = decisions
        self._running = 0

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/v1/campaigns", self._guarded(self._list)),
            Route("/v1/campaigns/{campaign_id}", self._guarded(self._show)),
            Route("/v1/campaigns/{campaign_id}", self._guarded(self._change), methods=["POST"]),
            Route("/v1/campaigns/{campaign_id}/history", self._guarded(self._history)),
        ]

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            stopped = self._stopped(request)
            if stopped is not None:
                return stopped
            self._running += 1
            try:
                return await answer(request)
            except ClientDisconnect:
                return Response(status_code=HTTPStatus.BAD_REQUEST)
            except ClickfoldError as error:
                # A topic that is missing, or Kafka away.
                return refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": "5"})
            finally:
                self._running -= 1

        return guarded

    def _stopped(self, request: Request) -> Response | None:
        if not self._token:
            return refused(HTTPStatus.FORBIDDEN, "start clickfold serve with CLICKFOLD_CAMPAIGNS_TOKEN to serve this")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            text = "the token is missing or another one; send the header `Authorization: Bearer …`"
            return refused(HTTPStatus.UNAUTHORIZED, text, {"WWW-Authenticate": "Bearer"})
        if self._running >= MAX_AT_ONCE:
            text = f"{MAX_AT_ONCE} calls on campaigns are under way; try again"
            return refused(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "1"})
        return None

    async def _list(self, _: Request) -> Response:
        found = await asyncio.to_thread(lambda: [each for shard in self._book().all() for each in shard])
        return answered(HTTPStatus.OK, CampaignList(sorted(found, key=lambda each: each.campaign_id)))

    async def _show(self, request: Request) -> Response:
        campaign_id = request.path_params["campaign_id"]
        campaign = await asyncio.to_thread(lambda: self._book().of(campaign_id).in_force(campaign_id))
        return _unknown(campaign_id) if campaign is None else answered(HTTPStatus.OK, self._facts(campaign))

    async def _history(self, request: Request) -> Response:
        campaign_id = request.path_params["campaign_id"]
        changes = await asyncio.to_thread(lambda: self._book().history(campaign_id))
        return answered(HTTPStatus.OK, CampaignPast(changes)) if changes else _unknown(campaign_id)

    async def _change(self, request: Request) -> Response:
        body = await whole_body(request)
        if isinstance(body, Response):
            return body
        try:
            fields = msgspec.json.decode(body, type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            return refused(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}; send one object of JSON")
        new = fields.pop("new", False)
        if not isinstance(new, bool):
            return answered(HTTPStatus.UNPROCESSABLE_ENTITY, Refused("new is neither true nor false", "new"))
        return await asyncio.to_thread(self._changed, request.path_params["campaign_id"], fields, new)

    def _changed(self, campaign_id: str, fields: Mapping[str, Any], new: bool) -> Response:
        book = self._book()
        campaigns = book.of(campaign_id)
        after = next_version(campaigns, campaign_id, fields, new=new)
        if isinstance(after, Refusal):
            return answered(_STATUS[after.kind], Refused(after.detail, after.field))
        if after == campaigns.in_force(campaign_id):
            return answered(HTTPStatus.OK, self._facts(after))
        written = book.write(after, wait_s=_JUDGED_S)
        if written.fate == "overtaken":
            text = f"another change with version {after.version} came first and is in force; look, and send it again"
            return refused(HTTPStatus.CONFLICT, text)
        if written.fate == "waiting":
            return answered(HTTPStatus.ACCEPTED, self._facts(after))
        return answered(HTTPStatus.OK, self._facts(after, written.in_force_ms))

    def _facts(self, campaign: Campaign, in_force_ms: int | None = None) -> CampaignFacts:
        decision = self._decisions.of([campaign.campaign_id]).get(campaign.campaign_id)
        return CampaignFacts(campaign, decision, in_force_ms)


def _unknown(campaign_id: str) -> Response:
    return refused(HTTPStatus.NOT_FOUND, f"there is no campaign {campaign_id!r}; GET /v1/campaigns has those there are")
