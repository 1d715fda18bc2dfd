"""Serve the retouch page to a browser on this machine, until it is finished or the run is stopped.

Pages name items by number alone, never by a path. Every answer forbids the browser to keep it, to show it inside
another page, and to fetch anything from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blissmask.errors import BlissmaskError, ChangedError, InputError, MachineError
from blissmask.media.sheets.card import ItemFacts, SheetText
from blissmask.media.sheets.html_page import as_text, item_facts
from blissmask.storage.limits import MOST_CAPTION
from blissmask.tasks.retouch.desk import CARD_SIDE, SIDE, Desk, most_bytes_of_edits
from blissmask.tasks.retouch.door import ADDRESS, App, Door, OneVisit, TooLargeError, body_of, new_token
from blissmask.tasks.retouch.retouch_page import page_of, policy_of

_LONGEST_JSON = 2 * 6 * MOST_CAPTION + 2**16
"""Bytes of a JSON body: a caption and the one it replaces, each byte of which may be written with six; and a rest."""
_LOOKS_PER_SECOND = 10
"""How often a server that starts is looked at: it takes about a tenth of a second."""
_SECONDS_TO_START = 30.0
"""A server that is not up by then never will be."""
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class PeopleFinder(Protocol):
    """Finds people in photos, and lets one of them be the subject."""

    def shown(self, number: int) -> dict[str, object]:
        """Return who is in the photo of an item, as JSON values.

        ``labels``: an encoded picture whose value n is person n, from 1; ``count``: how many there are; ``places``: a
        place in each of them, in shares of the width and the height.
        """

    def choose(self, number: int, person: int, *, is_subject: bool, expected: str) -> str:
        """Take person ``person`` for the subject, or for somebody else; 0 takes back what was said of the photo.

        Returns:
            The version of the mask that was written.

        Raises:
            ChangedError: the mask is not ``expected``.
        """


class Pages:
    """Answers the requests of the page.

    Args:
        desk: the items.
        text: what stands above them.
        people: finds the people in a photo, where one of them can be chosen; else None.
        finish: called when the page says that it is finished.
    """

    def __init__(self, desk: Desk, text: SheetText, people: PeopleFinder | None, finish: Callable[[], None]) -> None:
        self._desk, self._text, self._people, self._finish = desk, text, people, finish

    def routes(self) -> list[Route]:
        """Return which path is answered by what."""
        return [
            Route("/", self.show_page),
            Route("/items/{number}/pictures", self.show_pictures),
            Route("/items/{number}/people", self.show_people),
            Route("/items/{number}/mask", self.save_mask, methods=["POST"]),
            Route("/items/{number}/caption", self.save_caption, methods=["POST"]),
            Route("/items/{number}/person", self.choose_person, methods=["POST"]),
            Route("/finish", self.end, methods=["POST"]),
        ]

    async def show_page(self, request: Request) -> Response:
        """Return the page."""
        text = await run_in_threadpool(page_of, self._desk, self._text, has_people=self._people is not None)
        headers = {"content-security-policy": f"{policy_of()}; frame-ancestors 'none'"}
        return Response(text.encode("utf-8", "replace"), media_type="text/html", headers=headers)

    async def show_pictures(self, request: Request) -> Response:
        """Return photo, labels and grid of an item; with ``large``, as they are painted on."""
        side = SIDE if "large" in request.query_params else CARD_SIDE
        shown = await run_in_threadpool(self._desk.pictures, self._number(request), side=side)
        pictures = [as_text(picture) for picture in shown.pictures]
        return _json({"pictures": pictures, "version": shown.version, "caption": shown.caption})

    async def show_people(self, request: Request) -> Response:
        """Return who is in a photo."""
        return _json(await run_in_threadpool(self._finder().shown, self._number(request)))

    async def save_mask(self, request: Request) -> Response:
        """Change a mask."""
        number = self._number(request)
        edits = await body_of(request, most_bytes_of_edits(self._desk.item(number)))
        base, expected = (request.query_params.get(name, "") for name in ("base", "expected"))
        version = await run_in_threadpool(self._desk.save_mask, number, edits, base=base, expected=expected)
        return await self._changed(number, version)

    async def save_caption(self, request: Request) -> Response:
        """Change a caption."""
        number, sent = self._number(request), await _json_of(request)
        text, expected = sent.get("text"), sent.get("expected")
        if not isinstance(text, str) or not (expected is None or isinstance(expected, str)):
            raise InputError("the page sent no caption")
        await run_in_threadpool(self._desk.save_caption, number, text, expected=expected)
        return _json({"caption": text.strip()})

    async def choose_person(self, request: Request) -> Response:
        """Take one of the people in a photo for the subject, or for somebody else."""
        number, sent = self._number(request), await _json_of(request)
        person, is_subject, expected = sent.get("person"), sent.get("is_subject"), sent.get("expected")
        if type(person) is not int or not isinstance(is_subject, bool) or not isinstance(expected, str):
            raise InputError("the page sent no person")
        version = await run_in_threadpool(
            self._finder().choose, number, person, is_subject=is_subject, expected=expected
        )
        return await self._changed(number, version)

    async def end(self, request: Request) -> Response:
        """End the run."""
        self._finish()
        return _json({})

    async def _changed(self, number: int, version: str) -> Response:
        facts = await run_in_threadpool(self._facts, number)
        grid = await run_in_threadpool(self._desk.grid, number)
        return _json({"version": version, "grid": as_text(grid), **item_facts(facts)})

    def _facts(self, number: int) -> ItemFacts:
        return self._desk.facts(number, self._desk.described(number))

    def _number(self, request: Request) -> int:
        text = request.path_params["number"]
        # Longer numbers than there are items; Python refuses to read very long ones.
        if not text.isdecimal() or not text.isascii() or len(text) > 9:
            raise InputError("there is no such item")
        number = int(text)
        self._desk.item(number)
        return number

    def _finder(self) -> PeopleFinder:
        if self._people is None:
            raise InputError("people are chosen by `blissmask instance --retouch`")
        return self._people


def _json(value: object, *, status: int = 200) -> Response:
    """Return JSON in ASCII: names of files may be no text."""
    return Response(json.dumps(value), status_code=status, media_type="application/json")


async def _json_of(request: Request) -> Mapping[str, Any]:
    try:
        value = json.loads(await body_of(request, _LONGEST_JSON))
    except (ValueError, RecursionError) as error:
        raise InputError("the page sent no JSON") from error
    if not isinstance(value, dict):
        raise InputError("the page sent no JSON object")
    return value


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, BlissmaskError)
    problem = error.as_one()
    status = 409 if isinstance(error, ChangedError) else 400
    if isinstance(error, MachineError):
        status = 507
    return _json({"problem": problem.line, "fix": str(problem.fix)}, status=status)


async def _too_large(request: Request, error: Exception) -> Response:
    return Response(status_code=413, headers={"connection": "close"})


def make_app(pages: Pages, *, token: str, port: int, visit: OneVisit) -> App:
    """Return the application behind its door."""
    inside = Starlette(routes=pages.routes(), exception_handlers={BlissmaskError: _refused, TooLargeError: _too_large})

    async def with_headers(scope: Any, receive: Any, send: Any) -> None:
        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                guards = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *guards]
            await send(message)

        await inside(scope, receive, send_guarded)

    return Door(with_headers, token=token, port=port, visit=visit)


@dataclass(frozen=True, slots=True)
class Served:
    """Where a page is served.

    Attributes:
        address: to open by hand, with the token.
        for_browser: to start a browser with, where other accounts see it: good for one visit.
        visit: that one.
    """

    address: str
    for_browser: str
    visit: OneVisit


@contextlib.contextmanager
def serving(desk: Desk, text: SheetText, people: PeopleFinder | None, finish: Callable[[], None]) -> Iterator[Served]:
    """Serve the page in a thread of its own; yield where.

    Raises:
        MachineError: no port can be opened.
    """
    token, visit = new_token(), OneVisit()
    try:
        listener = socket.create_server((ADDRESS, 0))
    except OSError as error:
        raise MachineError(f"no port can be opened on {ADDRESS}: {error.strerror or error}") from error
    with listener:
        port = listener.getsockname()[1]
        app = make_app(Pages(desk, text, people, finish), token=token, port=port, visit=visit)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http="h11",
                loop="asyncio",
                server_header=False,
                proxy_headers=False,
                # What a page sends while the run ends is still written.
                timeout_graceful_shutdown=10,
            )
        )
        # Outside the main thread, uvicorn leaves signals to us.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="retouch", daemon=True)
        thread.start()
        deadline = time.monotonic() + _SECONDS_TO_START
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(1 / _LOOKS_PER_SECOND)
        if not server.started:
            raise MachineError("the server of the page does not start")
        try:
            yield Served(f"http://{ADDRESS}:{port}/{token}/", f"http://{ADDRESS}:{port}/{visit.word}/", visit)
        finally:
            server.should_exit = True
            thread.join()
