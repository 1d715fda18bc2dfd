"""Who may speak to the server of the retouch page: the page that it served to this machine, and nobody else.

A server on this machine can be reached by every program on it and by every page that a browser has open. So the
address holds a random token; the host must be named by the number and port that the server listens on (a page whose
name was made to lead here names another one: DNS rebinding); and what another page's script or form sends comes with
the origin of that page. Bodies are read up to a limit.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

ADDRESS = "127.0.0.1"
"""The only address that is listened on: nothing outside this machine reaches it."""

_TYPES = ("application/json", "application/octet-stream")
"""What our page sends; neither is a type that a form of another page can send without asking first."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TooLargeError(Exception):
    """A body is larger than what a page sends."""


def new_token() -> str:
    """Return a token that nobody guesses: 128 random bits, so few that the address fits on a line of a terminal."""
    return secrets.token_urlsafe(16)


class Door:
    """Lets requests of our own page through to an application, with the token taken off their path.

    Args:
        app: what answers them.
        token: the first part of every path.
        port: the port that is listened on.
    """

    def __init__(self, app: App, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._host = f"{ADDRESS}:{port}"
        self._origin = f"http://{self._host}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is refused gets no word of what is here."""
        if scope["type"] != "http":
            return
        status = self._refusal(Request(scope))
        if status:
            await Response(status_code=status)(scope, receive, send)
            return
        inside = {**scope, "path": "/" + scope["path"].split("/", 2)[2]}
        inside["raw_path"] = inside["path"].encode()
        await self._app(inside, receive, send)

    def _refusal(self, request: Request) -> int:
        """Return the status with which a request is refused; 0 when it may come in."""
        headers = request.headers
        if headers.getlist("host") != [self._host]:
            return 421
        parts = request.scope["path"].split("/", 2)
        if len(parts) < 3 or not secrets.compare_digest(parts[1].encode(), self._token.encode()):
            return 404
        origins = headers.getlist("origin")
        if any(origin != self._origin for origin in origins):
            return 403
        # Browsers say where a request comes from; other programs need not, and have the token.
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403
        if request.method in ("GET", "HEAD"):
            return 0
        if request.method != "POST":
            return 405
        if not origins:
            return 403
        return 0 if headers.get("content-type") in _TYPES else 415


async def body_of(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        TooLargeError: it is larger than ``limit`` bytes; no more than that is held.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > limit:
        raise TooLargeError
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLargeError
        parts.append(part)
    return b"".join(parts)
