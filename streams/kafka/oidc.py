"""Tokens of OAuth for aiokafka, which has no OpenID Connect of its own; librdkafka fetches its tokens by itself."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import urllib.parse
import urllib.request
from typing import Final

from aiokafka.abc import AbstractTokenProvider  # type: ignore[import-untyped]  # it publishes no types

_ANSWER_S: Final = 10.0
# A token is replaced after this share of its life, as librdkafka does.
_RENEWED_AFTER: Final = 0.8


class Tokens(AbstractTokenProvider):  # type: ignore[misc]  # as above
    """Tokens for the client's id and secret, fetched from an OpenID Connect token endpoint (RFC 6749, 4.4)."""

    def __init__(self, *, url: str, client_id: str, client_secret: str, scope: str = "", ca_location: str = "") -> None:
        self._url = url
        self._client = f"{urllib.parse.quote(client_id, safe='')}:{urllib.parse.quote(client_secret, safe='')}"
        self._scope = scope
        self._ca_location = ca_location
        self._token = ""
        self._renew_s = 0.0

    async def token(self) -> str:
        """A token that is valid for a while. Raises OSError when the endpoint gives none, which aiokafka takes for a
        connection that failed."""
        if time.monotonic() >= self._renew_s:
            await asyncio.get_running_loop().run_in_executor(None, self._fetch)
        return self._token

    def _fetch(self) -> None:
        body = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
        request = urllib.request.Request(
            self._url,
            data=urllib.parse.urlencode(body).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(self._client.encode()).decode(),
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
        )
        asked_s = time.monotonic()
        context = ssl.create_default_context(cafile=self._ca_location or None)
        with urllib.request.urlopen(request, timeout=_ANSWER_S, context=context) as answer:
            text = answer.read()
        try:
            found = json.loads(text)
            self._token = str(found["access_token"])
            self._renew_s = asked_s + _RENEWED_AFTER * float(found.get("expires_in", 0))
        except (ValueError, TypeError, KeyError) as failure:
            raise OSError(f"KAFKA_OIDC_TOKEN_URL={self._url} answered without an access_token") from failure
