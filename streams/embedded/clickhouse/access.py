"""Who may ask: whoever knows the password; without one, this machine's programs and pages, and no web page."""

import re

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from streams.embedded.clickhouse import wire
from streams.embedded.clickhouse.codes import Code

# How to come to the password; a server whose user forgot it says the like.
TWO_WAYS = (
    "The password is the CLICKHOUSE_PASSWORD with which `clickfold up` was started, or else the one in "
    "clickhouse/login.netrc below the data folder"
)
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}
_LOOPBACK_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
# Lets pages served by this machine read the answers; a browser hides them from all others.
CROSS_ORIGIN = Middleware(
    CORSMiddleware,
    allow_origin_regex=_LOOPBACK_ORIGIN.pattern,
    allow_methods=["GET", "POST"],
    allow_headers=["*"],
    expose_headers=["X-ClickHouse-Summary", "X-ClickHouse-Format", "X-ClickHouse-Exception-Code"],
)


def refusal(request: Request, login: tuple[str, str] | None) -> Response | None:
    """The answer to whoever may not ask, None for all others. `login` None asks nobody for a password."""
    if login is None:
        return _refusal_of_browsers(request)
    given = wire.credentials(request.headers, request.query_params)
    if given is None:
        code = Code.REQUIRED_PASSWORD
        answer = error(401, code, code.message(f"User name and password are asked for. {TWO_WAYS}."))
        answer.headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return answer
    if wire.same(given, login):
        return None
    reason = f"Authentication failed: password is incorrect, or there is no user with such name. {TWO_WAYS}."
    return error(403, Code.AUTHENTICATION_FAILED, Code.AUTHENTICATION_FAILED.message(f"{given[0]}: {reason}"))


def user(request: Request) -> str:
    """Who asks, once `refusal` lets in."""
    given = wire.credentials(request.headers, request.query_params)
    return given[0] if given else "default"


def error(status: int, code: int, text: str) -> Response:
    """An error as ClickHouse gives it: number in a header, text in the body."""
    return PlainTextResponse(f"{text}\n", status_code=status, headers={"X-ClickHouse-Exception-Code": f"{code:d}"})


def _refusal_of_browsers(request: Request) -> Response | None:
    # Without a password every web page open on this machine could post SQL to a loopback port, directly (Origin) or
    # under a name of its own that resolves to 127.0.0.1 (Host).
    origin = request.headers.get("origin")
    local = origin is None or _LOOPBACK_ORIGIN.fullmatch(origin)
    if local and request.url.hostname in LOOPBACK_NAMES:
        return None
    text = (
        "Requests from web pages or under another host name need a password: `clickfold up` gives one, or start the "
        "server with CLICKHOUSE_PASSWORD."
    )
    return error(403, Code.AUTHENTICATION_FAILED, text)
