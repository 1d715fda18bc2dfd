"""Contact sheets as one HTML page that needs nothing else: its pictures, its script and its style are inside.

The page holds a photo, a map of labels and the latent grid of each item; ``sheet.js`` draws the rest when it is seen.
Its content security policy allows the page's own script and style by their hashes and no connection at all, so that
neither a file's name nor a caption can run or fetch anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import InputError
from blissmask.media.overlay import DIMMED, PLAIN, TINT, colour_weights
from blissmask.media.sheets.card import (
    Card,
    ItemFacts,
    PackedCard,
    PackedPicture,
    SheetText,
    deflate_values,
    in_order,
    pack_card,
    pack_photo,
)
from blissmask.storage import atomic
from blissmask.storage.ordinary import open_ordinary, read_text

_MARK = "<meta name=generator content='blissmask contact sheet'>"
"""Marks the page as ours, within its first 1000 bytes; files without it are never overwritten."""

_PHOTO_PIXELS = 250e6
"""Pixels that all photos of a page may have together, so that it stays below about 35 MB: a WebP photo takes 0.1 bytes
a pixel (see ``card.pack_photo``), and its text in the page 4/3 of that."""
_SIDES = (384, 1024)
"""The least and the greatest length of a photo's longer side. On less, an outline cannot be judged."""

_BODY = """
<header>
  <h1>{title}</h1>
  <form class=tools id=tools>
    <input type=search id=find aria-label="Find a name" placeholder="Find a name  /" autocomplete=off>
    <select id=filter aria-label="Which items"></select>
    <select id=order aria-label="Order"></select>
    <span id=count role=status></span>
  </form>
  <div class=legend id=legend></div>
  <p class=keys>A click or <kbd>Return</kbd> shows an item large, <kbd>&larr;</kbd> <kbd>&rarr;</kbd> go on,
  <kbd>Esc</kbd> goes back, <kbd>/</kbd> finds a name.
  <span id=legend-keys><kbd>o</kbd> outline, <kbd>b</kbd> background, <kbd>p</kbd> photo alone.</span></p>
  <p class="on-paper remarks" id=on-paper></p>
</header>
<main id=cards class=cards></main>
<dialog id=large tabindex=-1 aria-labelledby=large-name>
  <div class=bar>
    <button type=button id=before aria-label="Previous item">&#8592;</button>
    <button type=button id=next aria-label="Next item">&#8594;</button>
    <h2 id=large-name></h2>
    <span id=large-position></span>
    <button type=button id=close aria-label="Close">&#10005;</button>
  </div>
  <div class=stage id=stage><canvas id=large-picture role=img></canvas></div>
  <div class=side id=side>
    <div class=legend id=large-legend></div>
    <p id=large-remarks class=remarks></p>
    <dl id=large-measures></dl>
    <p id=large-caption class=caption dir=auto></p>
    <figure><canvas id=large-grid role=img></canvas><figcaption>{grid}</figcaption></figure>
  </div>
</dialog>
<noscript>This page draws its pictures with a script of its own, which this browser does not run.</noscript>
"""


def side_for(count: int) -> int:
    """Return the longer side of the photos on a page of ``count`` items, in pixels."""
    return round(min(max(math.sqrt(_PHOTO_PIXELS / max(1, count)), _SIDES[0]), _SIDES[1]))


def pack_for_html(card: Card) -> PackedCard:
    """Encode what the page draws a card from: the photo, its labels and its latent grid."""
    return pack_card(card, (pack_photo(card.photo_HW3), deflate_values(card.labels_HW), pack_grid(card.weights_hw)))


def pack_grid(weights_hw: NDArray[np.float32]) -> PackedPicture:
    """Pack mask weights on the latent grid, in steps of 1/255."""
    return deflate_values(np.rint(weights_hw.clip(0, 1) * 255).astype(np.uint8))


def write_html(path: Path, cards: Sequence[PackedCard], text: SheetText) -> None:
    """Write the sheet as one file, card by card, worst first.

    Raises:
        InputError: a file that is not a sheet of ours has that name.
        MachineError: the disk is full or the folder cannot be written.
    """
    if path.exists() and not is_html_sheet(path):
        raise InputError(
            "a file that is not a contact sheet stands where one would go",
            where=[path],
            fix="choose another name for the sheet",
        )
    with atomic.publishing(path) as temporary, temporary.open("wb") as file:
        for line in _lines(in_order(cards), text):
            file.write(line.encode("utf-8", "replace") + b"\n")


def is_html_sheet(path: Path) -> bool:
    """Return whether a file is an HTML contact sheet of ours."""
    if not path.is_file():
        return False
    with open_ordinary(path) as file:
        return _MARK.encode() in file.read(1000)


def _lines(cards: Sequence[PackedCard], text: SheetText) -> Iterator[str]:
    script, style = page_file("sheet.js"), page_file("sheet.css")
    yield from head_lines(text, policy=content_policy(script, style), style=style)
    yield json_block("sheet", sheet_facts([card.facts for card in cards], text))
    for number, card in enumerate(cards):
        pictures = " ".join(as_text(picture) for picture in card.pictures)
        yield f"<script type=text/plain id=pictures-{number}>{pictures}</script>"
    yield f"<script>{script}</script></html>"


def head_lines(text: SheetText, *, policy: str, style: str) -> Iterator[str]:
    """Yield the page up to where its facts and its script follow."""
    yield f"<!doctype html><html lang=en><meta charset=utf-8>{_MARK}"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    title = html.escape(text.title)
    yield f"<title>{title}</title><style>{style}</style>"
    yield _BODY.format(title=title, grid=html.escape(text.columns[-1]))


def content_policy(script: str, style: str, *, further: str = "") -> str:
    """Return the policy under which a browser runs and fetches nothing but what is in the page and in ``further``."""
    own = f"default-src 'none'; img-src blob:; script-src {source_hash(script)}; style-src {source_hash(style)}"
    return f"{own}; base-uri 'none'; form-action 'none'{further}"


def as_text(picture: PackedPicture) -> str:
    """Return an encoded picture as the page holds it."""
    return base64.b64encode(picture.data).decode("ascii")


def sheet_facts(items: Sequence[ItemFacts], text: SheetText) -> dict[str, object]:
    """Return all that the page's script is told besides the pictures, as JSON values."""
    scale_13 = colour_weights(np.linspace(0, 1, 256, dtype=np.float32)[None, :], (256, 1))
    return {
        "columns": list(text.columns),
        "pictures": list(text.pictures),
        "worst": text.worst,
        "legend": [{"name": name, "colour": list(colour)} for name, colour in text.legend],
        "scale": scale_13[0].tolist(),
        "tint": TINT,
        "dimmed": DIMMED,
        "plain": PLAIN,
        "items": [item_facts(item) for item in items],
    }


def item_facts(item: ItemFacts) -> dict[str, object]:
    """Return what the page's script is told about an item, as JSON values."""
    measures = [{"text": measure.text, "name": measure.name, "value": measure.value} for measure in item.measures]
    return {
        "name": item.name,
        "size": list(item.size_wh),
        "measures": measures,
        "remarks": list(item.remarks),
        "caption": item.caption,
    }


def json_block(name: str, facts: object) -> str:
    """Return JSON as an element of a page; ``<`` is written so that no text in it can end the element."""
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"<script type=application/json id={name}>{text}</script>"


def source_hash(source: str) -> str:
    """Return how a content security policy names an inline script or style."""
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def page_file(name: str) -> str:
    """Return the text of a script or style that is part of the page."""
    return read_text(Path(__file__).with_name(name))
