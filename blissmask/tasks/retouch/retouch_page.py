"""The page that masks are retouched on: the contact sheet's page, with tools."""

from __future__ import annotations

from pathlib import Path

from blissmask.media.sheets.card import SheetText, place_of
from blissmask.media.sheets.html_page import content_policy, head_lines, json_block, page_file, sheet_facts
from blissmask.storage.ordinary import read_text
from blissmask.tasks.retouch.desk import LEFT_OUT, UNTOUCHED, Desk


def policy_of() -> str:
    """Return the content security policy of the page: it may ask the server that it came from, and nobody else."""
    return content_policy(_script(), _style(), further="; connect-src 'self'")


def page_of(desk: Desk, text: SheetText, *, has_people: bool) -> str:
    """Return the page as it is now, its worst items first."""
    described = [desk.described(number) for number in range(len(desk.items))]
    places = [place_of(each.badness, item.key) for each, item in zip(described, desk.items, strict=True)]
    numbers = sorted(range(len(desk.items)), key=places.__getitem__)
    facts = sheet_facts([desk.facts(number, described[number]) for number in numbers], text)
    facts["retouch"] = {"numbers": numbers, "untouched": UNTOUCHED, "leftOut": LEFT_OUT, "people": has_people}
    lines = [
        *head_lines(text, policy=policy_of(), style=_style()),
        json_block("sheet", facts),
        f"<script>{_script()}</script></html>",
    ]
    return "\n".join(lines)


def _script() -> str:
    return page_file("sheet.js") + _own_file("retouch.js")


def _style() -> str:
    return page_file("sheet.css") + _own_file("retouch.css")


def _own_file(name: str) -> str:
    return read_text(Path(__file__).with_name(name))
