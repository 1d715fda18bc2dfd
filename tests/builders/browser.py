"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_FLAGS = (
    # Tests may run as root, for whom Chromium has no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    # Nothing outside this machine is asked for.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


PATIENCE_SECONDS = 60
"""What a page may take where it takes a moment: with three other programs to each core, 10 seconds were too few once."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a browser.

    Where there is none, the test is skipped with the reason; on a machine that sets ``CI`` it fails, since tests/run.sh
    installs one there.
    """
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    missing = []
    if program is None:
        missing.append("no Chromium on the PATH (`apt-get install chromium`)")
    if importlib.util.find_spec("playwright") is None:
        missing.append("no Playwright (`pip install --requirement tests/extras.txt --no-deps`)")
    if missing:
        reason = f"pages are not tested in a browser: {', '.join(missing)}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def page_in(
    browser: Browser, *, size_wh: tuple[int, int] = (1400, 900), scheme: str = "light", allowed: tuple[str, ...] = ()
) -> Iterator[Page]:
    """Yield a page; at the end it must have said nothing on the console but with a word of ``allowed``, and no error."""
    context = browser.new_context(viewport={"width": size_wh[0], "height": size_wh[1]}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert [text for text in said if not any(word in text for word in allowed)] == []


def wait_until(page: Page, condition: str, value: object = None) -> None:
    """Wait until a JavaScript function of ``value`` returns true.

    Not by the page's own ``wait_for_function``, which its content security policy forbids.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not page.evaluate(condition, value):
        assert time.monotonic() < deadline, f"never came true: {condition}"
        page.wait_for_timeout(10)
