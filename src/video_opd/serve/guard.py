"""Stands before every route: who may ask, from which page, and what a browser may do with the answer.

A page of another site can make a browser send requests to a server on its own machine, and by a name that points to
127.0.0.1 (DNS rebinding) it could read the answers. So on loopback only the names of loopback are served, and a request
that comes from a page must come from ours. Elsewhere every request needs the token.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from video_opd.serve.request_errors import RequestError, foreign_error, problem_of, token_error

OPEN_PATHS = frozenset(("/", "/page.css", "/page.js", "/icon.svg", "/openapi.json", "/health"))
"""What needs no token: the page itself, which holds nothing, and what is the same everywhere."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

DRAINED_BYTES, DRAINED_S = 16 << 20, 2.0
"""How much of a refused upload is still taken in: a sender that is cut off while it sends sees no answer."""


@dataclass(kw_only=True)
class Admission:
    """Who is let in."""

    token: str | None
    """None: no token is needed."""
    hosts: Collection[str] | None
    """Names that a request may call the server by; None: any."""


class Guard:
    """Goes around the whole application, so that the answer to a bug passes through it too.

    Args:
        app: what is guarded.
        admission: who is let in.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission) -> None:
        self.app, self.admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = _Body(receive, headers)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                is_closing = (b"connection", b"close") in message.get("headers", ())
                if message["status"] >= HTTPStatus.BAD_REQUEST and not is_closing:
                    await body.drain()
                given = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *given]}
            await send(message)

        if refusal := self._find_refusal(scope["path"], headers):
            await _send_problem(refusal, send_guarded)
        else:
            await self.app(scope, body.receive, send_guarded)

    def _find_refusal(self, path: str, headers: Mapping[str, str]) -> RequestError | None:
        host, hosts, token = headers.get("host", ""), self.admission.hosts, self.admission.token
        if hosts is not None and _name_of(host) not in hosts:
            return foreign_error(f"the request calls this server {host[:100]!r}")
        origin = headers.get("origin")
        if origin is not None and not _is_page_of(origin, host):
            return foreign_error(f"the request comes from the page {origin[:100]!r}")
        if token is None or path in OPEN_PATHS:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), token.encode())
        if kind.lower() == "bearer" and is_right:
            return None
        return token_error(has_token=bool(given))


@dataclass
class _Body:
    """The body of a request, and whether it has come in."""

    source: Receive
    headers: Mapping[str, str]
    has_begun: bool = False
    is_over: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_over = self.headers.get("content-length", "0") == "0" and "transfer-encoding" not in self.headers

    async def receive(self) -> Message:
        message = await self.source()
        self.has_begun = True
        self.is_over = message["type"] != "http.request" or not message.get("more_body")
        return message

    async def drain(self) -> None:
        """Take in the rest, as far as it is short and comes soon."""
        if not self.has_begun and "expect" in self.headers:
            return  # the sender waits for `100 Continue` before it sends
        until, num_bytes = time.monotonic() + DRAINED_S, 0
        with suppress(TimeoutError):
            while not self.is_over and num_bytes < DRAINED_BYTES:
                async with asyncio.timeout(until - time.monotonic()):
                    num_bytes += len((await self.receive()).get("body", b""))


def _name_of(host: str) -> str:
    """The name in a `Host` header, without the port."""
    with suppress(ValueError):
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    return ""


def _is_page_of(origin: str, host: str) -> bool:
    """Whether the page of an `Origin` header lies on the host of a `Host` header."""
    with suppress(ValueError):  # such as `http://[`
        return urlsplit(origin).netloc.lower() == host.lower()
    return False


async def _send_problem(error: RequestError, send: Any) -> None:
    content = json.dumps(problem_of(error)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content)), **error.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": int(error.status), "headers": raw})
    await send({"type": "http.response.body", "body": content})
