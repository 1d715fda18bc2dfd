"""Who may speak to the server of the retouch page: the page that it served to this machine, and nobody else.

A server on this machine can be reached by every program on it and by every page that a browser has open. So the
address holds a random token; the host must be named by the number and port that the server listens on (a page whose
name was made to lead here names another one: DNS rebinding); and what another page's script or form sends comes with
the origin of that page. Bodies are read up to a limit.

Other accounts of the machine see with which arguments a program was started, the browser among them. So a browser is
not started with the token but with an address that is good for one visit, and leads on to a token of its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

ADDRESS = "127.0.0.1"
"""The only address that is listened on: nothing outside this machine reaches it."""

_TYPES = ("application/json", "application/octet-stream")
"""What our page sends; neither is a type that a form of another page can send without asking first."""

SECONDS_TO_VISIT = 120.0
"""How long the address is good that a browser is started with: a browser on a slow machine takes half a minute."""
_VISITED = (
    "This address was good for one visit, and was visited before or is too old. What it led to is shut.\n"
    "Open the address that the command printed. If that was not you, another account of this machine looked for it.\n"
)
_NEVER_KEPT = {"cache-control": "no-store", "referrer-policy": "no-referrer"}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TooLargeError(Exception):
    """A body is larger than what a page sends."""


def new_token() -> str:
    """Return a token that nobody guesses: 128 random bits, so few that the address fits on a line of a terminal."""
    return secrets.token_urlsafe(16)


class OneVisit:
    """A word that is swapped for a token once, within :data:`SECONDS_TO_VISIT`.

    Whoever reads it where the browser was started may come before the browser does. So a second visit takes back the
    token that the first one was given: the browser's visit then shuts the other one out, and says so.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.word = new_token()
        self.token: str | None = None
        self.was_shut = False
        """Whether a token was taken back: the page that it was of is dead, and somebody has to be told."""
        self._now, self._ends = now, now() + SECONDS_TO_VISIT
        self._is_over = False

    def swap(self) -> str | None:
        """Return the token of the first visit; None for a second or a late one, after which no token is valid."""
        if self._is_over or self.token is not None or self._now() > self._ends:
            self.was_shut |= self.token is not None
            self.token, self._is_over = None, True
        else:
            self.token = new_token()
        return self.token


class Door:
    """Lets requests of our own page through to an application, with the token taken off their path.

    Args:
        app: what answers them.
        token: the first part of every path.
        port: the port that is listened on.
        visit: what a browser is started with, which leads on to a token of its own.
    """

    def __init__(self, app: App, *, token: str, port: int, visit: OneVisit) -> None:
        self._app, self._token, self._visit = app, token, visit
        self._host = f"{ADDRESS}:{port}"
        self._origin = f"http://{self._host}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is refused gets no word of what is here."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        status = self._refusal(request)
        if status:
            # What follows on the connection may be the rest of a request that was built to be read in two ways.
            await Response(status_code=status, headers={"connection": "close"})(scope, receive, send)
            return
        if _is(self._visit.word, request):
            await self._led_on(request)(scope, receive, send)
            return
        inside = {**scope, "path": "/" + scope["path"].split("/", 2)[2]}
        inside["raw_path"] = inside["path"].encode()
        await self._app(inside, receive, send)

    def _refusal(self, request: Request) -> int:
        """Return the status with which a request is refused; 0 when it may come in."""
        headers = request.headers
        if headers.getlist("host") != [self._host]:
            return 421
        tokens = [token for token in (self._token, self._visit.token, self._visit.word) if token is not None]
        if not any(_is(token, request) for token in tokens):
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
        # Browsers say how long their request is, once.
        if "content-length" in headers and "transfer-encoding" in headers:
            return 400
        return 0 if headers.get("content-type") in _TYPES else 415

    def _led_on(self, request: Request) -> Response:
        """Answer a visit to the address that a browser is started with."""
        if request.method != "GET":
            return Response(status_code=405)
        token = self._visit.swap()
        if token is None:
            return PlainTextResponse(_VISITED, status_code=410)
        return RedirectResponse(f"/{token}/", status_code=303, headers=_NEVER_KEPT)


def _is(token: str, request: Request) -> bool:
    """Return whether the first part of a path is a token, in a time that says nothing about it."""
    parts = request.scope["path"].split("/", 2)
    return len(parts) == 3 and secrets.compare_digest(parts[1].encode(), token.encode())


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
