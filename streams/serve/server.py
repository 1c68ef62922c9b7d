"""The server of the application: uvicorn with uvloop and httptools, within the bounds of `limits`."""

from __future__ import annotations

from typing import Any

import uvicorn

from streams.serve.limits import GRACE_S, IDLE_S, MAX_CONNECTIONS, BoundedProtocol


def server_config(application: Any, *, host: str, port: int) -> uvicorn.Config:
    """At its end it accepts no more connections, finishes the calls under way, and closes those that wait."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        # A line for each bad request would let clients fill the disk.
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
