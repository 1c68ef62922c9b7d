"""Answers in JSON, and the bodies of calls within their bounds."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from schemas.codec import encode
from schemas.serving import Refused
from streams.serve.limits import BODY_S, MAX_BODY_BYTES


def answered(status: int, value: Any, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(encode(value), status, headers=headers, media_type="application/json")


def refused(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """One sentence as JSON."""
    return answered(status, Refused(text), headers)


async def whole_body(request: Request) -> bytes | Response:
    """The whole body, or why it is not read: an announced length is refused before the client sends it."""
    if int(request.headers.get("content-length", "0")) > MAX_BODY_BYTES:
        return _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return _too_large()
    except TimeoutError:
        text = f"{len(body):,} bytes of the body came within {BODY_S:g} s; send a call without pauses"
        return refused(HTTPStatus.REQUEST_TIMEOUT, text, {"Connection": "close"})
    return bytes(body)


def _too_large() -> Response:
    text = f"the body has more than {MAX_BODY_BYTES:,} bytes; send fewer candidates a call"
    return refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
