"""The HTTP application: one call for an auction, the model that serves, and its own description."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from schemas.codec import encode
from schemas.serving import Prediction
from streams.serve.calls import BadCall, read_call
from streams.serve.limits import MAX_RUNNING
from streams.serve.openapi import document
from streams.serve.progress import Serving
from streams.serve.responses import answered, refused, whole_body


def application(serving: Serving, more: Iterable[Route] = ()) -> Starlette:
    """The ASGI application; `more` are routes beside its own."""
    described = encode(document())

    async def model(_: Request) -> Response:
        served = serving.models.served
        return _no_model() if served is None else answered(HTTPStatus.OK, served.facts)

    async def openapi(_: Request) -> Response:
        return Response(described, media_type="application/json")

    return Starlette(
        routes=[
            Route("/v1/predict", _Predict(serving), methods=["POST"]),
            Route("/v1/model", model),
            Route("/openapi.json", openapi),
            *more,
        ],
        exception_handlers={404: _elsewhere, 405: _other_method},
    )


class _Predict:
    """An ASGI application, so that a call is under way until its answer is sent."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = self._serving
        if serving.running >= MAX_RUNNING:
            text = f"{MAX_RUNNING} calls are under way; try again, or ask another server"
            response = refused(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "1"})
            await self._send(response, scope, receive, send)
            return
        serving.running += 1
        try:
            body = await whole_body(Request(scope, receive))
            response = body if isinstance(body, Response) else predicted(body, serving)
            await self._send(response, scope, receive, send)
        except ClientDisconnect:
            return
        finally:
            serving.running -= 1

    async def _send(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        self._serving.requests[str(response.status_code)] += 1
        await response(scope, receive, send)


def predicted(body: bytes, serving: Serving) -> Response:
    """The answer to the body of a call, without a wait."""
    # Read once, so that one version answers the whole call. There is no `await` below.
    began_s, served = time.perf_counter(), serving.models.served
    if served is None:
        return _no_model()
    call = read_call(body)
    if isinstance(call, BadCall):
        return answered(call.status, call.refused)
    facts = served.facts
    response = answered(
        HTTPStatus.OK,
        Prediction(
            facts.model,
            facts.shard,
            facts.version,
            facts.event_ms,
            served.predict(call),
            serving.decisions.of({each.campaign_id for each in call.candidates}),
        ),
    )
    serving.candidates += len(call.candidates)
    serving.busy_s += time.perf_counter() - began_s
    return response


def _no_model() -> Response:
    text = "no model is published yet; start `clickfold worker learn`, or wait for its first version"
    return refused(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "5"})


async def _elsewhere(request: Request, _: Exception) -> Response:
    return refused(HTTPStatus.NOT_FOUND, f"there is no {request.url.path} here; /openapi.json lists what there is")


async def _other_method(request: Request, error: Exception) -> Response:
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    allowed = headers.get("Allow", "another method")
    return refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not served here; use {allowed}", headers)
