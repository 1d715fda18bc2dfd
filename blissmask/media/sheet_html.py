"""Contact sheets as one HTML page that needs nothing else: its pictures are inside, and it has no scripts."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from blissmask.errors import InputError
from blissmask.media.sheet_pages import PackedCard, PackedPicture, SheetText, in_order, pack_picture, weight_scale
from blissmask.storage import atomic
from blissmask.storage.ordinary import open_ordinary

_MARK = "<meta name=generator content='blissmask contact sheet'>"
"""Marks the page as ours, within its first 1000 bytes; files without it are never overwritten."""

_STYLE = """
:root { color-scheme: light dark }
:root { --paper: #f6f6f4; --card: #fff; --ink: #202020; --faint: #666; --edge: #d8d8d4; --alarm: #b03a00 }
@media (prefers-color-scheme: dark) {
:root { --paper: #161616; --card: #222; --ink: #eee; --faint: #aaa; --edge: #3a3a3a; --alarm: #ff9a5c }
}
body { margin: 0 auto; max-width: 120rem; padding: 1.5rem }
body { background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .5rem }
h2 { font-size: 1.1rem; margin: 2rem 0 .75rem }
h2.alarm { color: var(--alarm) }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; color: var(--faint); align-items: center }
.legend i { display: inline-block; width: 1em; height: 1em; margin-right: .45em; vertical-align: -.12em }
.legend i { border: 1px solid var(--faint) }
.legend img { height: 1em; vertical-align: -.12em; margin: 0 .4em }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 41rem), 1fr)); gap: .8rem }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; padding: .7rem }
.card { break-inside: avoid }
.card.alarm { border-color: var(--alarm); border-width: 2px }
.pictures { display: flex; gap: 4px; justify-content: center; align-items: center; min-height: 60px }
.pictures img { min-width: 0; flex: 0 1 auto; height: auto }
.name { font-weight: 600; overflow-wrap: anywhere; margin-top: .5rem }
.numbers { color: var(--faint) }
.remarks { color: var(--alarm) }
"""


def write_html(path: Path, cards: Sequence[PackedCard], text: SheetText) -> None:
    """Write the sheet as one file, card by card.

    Items with remarks stand in a section of their own at the top.

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
        for line in _lines(cards, text):
            file.write(line.encode("utf-8", "replace") + b"\n")


def is_html_sheet(path: Path) -> bool:
    """Return whether a file is an HTML contact sheet of ours."""
    if not path.is_file():
        return False
    with open_ordinary(path) as file:
        return _MARK.encode() in file.read(1000)


def _lines(cards: Sequence[PackedCard], text: SheetText) -> Iterator[str]:
    ordered = in_order(cards)
    needing = [card for card in ordered if card.remarks]
    fine = [card for card in ordered if not card.remarks]
    title = html.escape(text.title)
    viewport = "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<!doctype html><html lang=en><meta charset=utf-8>{_MARK}{viewport}"
    yield f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{_legend(text)}"
    if needing:
        yield f"<h2 class=alarm>Needs a look ({len(needing)})</h2>\n<div class=cards>"
        yield from _cards(needing, text)
    if fine:
        yield f"<h2>Nothing to remark ({len(fine)})</h2>\n<div class=cards>"
        yield from _cards(fine, text)
    yield "</html>"


def _legend(text: SheetText) -> str:
    items = [f"<span><i style='background:rgb{colour}'></i>{html.escape(name)}</span>" for name, colour in text.legend]
    if text.scale:
        scale = _data_url(pack_picture(weight_scale(), lossless=False))
        items.append(f"<span>weight 0<img alt='to' src='{scale}'>1</span>")
    items.append(f"<span>{html.escape(' | '.join(text.columns))}</span>")
    return f"<div class=legend>{''.join(items)}</div>"


def _cards(cards: Sequence[PackedCard], text: SheetText) -> Iterator[str]:
    """Yield the cards of a section and the end of its grid."""
    for card in cards:
        pictures = [_picture(column, picture) for column, picture in zip(text.columns, card.pictures, strict=True)]
        yield _card(card, "".join(pictures))
    yield "</div>"


def _card(card: PackedCard, pictures: str) -> str:
    name, numbers = html.escape(card.name), html.escape(card.numbers)
    alarm, remarks = "", ""
    if card.remarks:
        alarm, remarks = " alarm", f"<div class=remarks>{html.escape('; '.join(card.remarks))}</div>"
    return (
        f"<div class='card{alarm}'><div class=pictures>{pictures}</div>"
        f"<div class=name>{name}</div>{remarks}<div class=numbers>{numbers}</div></div>"
    )


def _picture(column: str, picture: PackedPicture) -> str:
    width, height = picture.size_wh
    alt = html.escape(column, quote=True)
    return f"<img alt='{alt}' width={width} height={height} src='{_data_url(picture)}'>"


def _data_url(picture: PackedPicture) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture.webp).decode('ascii')}"
