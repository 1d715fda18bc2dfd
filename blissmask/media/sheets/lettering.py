"""Write text of any script into a picture, with Pillow's own font and the fonts of this machine.

Pillow's font has the letters of English alone. Names of files are written in every script, so each part of a line
takes the first font that has its letters. No font is shipped for it: those for all scripts together take a hundred
megabytes.
"""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import ImageDraw, ImageFont

from blissmask.media.overlay import Colour

_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
_NO_CHARACTER = "\U0010ffff"
"""Unicode promises that no letter ever gets this number, so a font draws what it draws for all it does not have."""
_PROBE_SIZE = 20
"""Size at which it is seen whether a font has a letter."""


def text_length(text: str, size: int) -> float:
    """Return how many pixels wide a line is."""
    return sum(font.getlength(part) for font, part in _parts(text, size))


def draw_text(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: Colour, size: int) -> None:
    """Write a line whose upper left corner, in Pillow's own font, is at ``corner``."""
    x, top = corner
    baseline = top + _own_font(size).getmetrics()[0]
    for font, part in _parts(text, size):
        draw.text((x, baseline), part, colour, font, anchor="ls")
        x += font.getlength(part)


def on_one_line(text: str) -> str:
    """Return text that can be drawn: without line breaks, and with ``?`` for what is no letter."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def shortened(text: str, room: float, size: int) -> str:
    """Return ``text`` on one line of at most ``room`` pixels, cut in the middle: file names differ at their end.

    Where there is no room for two letters, nothing is left.
    """
    line = on_one_line(text)
    if text_length(line, size) <= room:
        return line
    for keep in range(len(line), 1, -1):
        cut = _middle_cut(line, keep)
        if text_length(cut, size) <= room:
            return cut
    return ""


def _middle_cut(line: str, keep: int) -> str:
    head = keep // 2
    return f"{line[:head]}…{line[len(line) - (keep - head) :]}"


def wrapped(text: str, room: float, size: int, *, most: int) -> list[str]:
    """Return ``text`` in lines of at most ``room`` pixels, broken between words, and a longer word in its middle.

    Of more than ``most`` lines, the last one ends in an ellipsis.
    """
    lines = [""]
    for word in on_one_line(text).split():
        longer = f"{lines[-1]} {word}".lstrip()
        if text_length(longer, size) <= room:
            lines[-1] = longer
            continue
        lines += _broken(word, room, size)
    lines = [line for line in lines if line]
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and text_length(f"{last}…", size) > room:
        last = last[:-1]
    return [*lines[: most - 1], f"{last.rstrip()}…"]


def _broken(word: str, room: float, size: int) -> list[str]:
    """Return a word in parts that fit, each of one letter at least."""
    parts = [""]
    for letter in word:
        if parts[-1] and text_length(parts[-1] + letter, size) > room:
            parts.append("")
        parts[-1] += letter
    return parts


def letters_without_font(texts: Iterable[str]) -> list[str]:
    """Return the letters that no font of this machine has, each once; boxes stand for them."""
    letters = dict.fromkeys(letter for text in texts for letter in text)
    return [letter for letter in letters if _font_with(letter) is None]


def font_folders() -> list[Path]:
    """Return where fonts of this system lie; some may not exist."""
    home = Path.home()
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home)) / "Microsoft/Windows/Fonts"
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", local]
    # The folders of fontconfig's own configuration.
    data = Path(os.environ.get("XDG_DATA_HOME", home / ".local/share"))
    return [data / "fonts", home / ".fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]


def _parts(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """Split a line where the font changes: a font is kept as long as it has the letters."""
    parts: list[tuple[Path | str, str]] = []
    for letter in text:
        if parts and _has(parts[-1][0], letter):
            parts[-1] = (parts[-1][0], parts[-1][1] + letter)
            continue
        font = _font_with(letter) or _OWN
        if parts and parts[-1][0] == font:
            parts[-1] = (font, parts[-1][1] + letter)
        else:
            parts.append((font, letter))
    return [(_opened(font, size), part) for font, part in parts]


_OWN = "Pillow's own font"


@functools.cache
def _font_with(letter: str) -> Path | str | None:
    """Return the first font that has a letter: Pillow's own, then those in use, then all others."""
    if _has(_OWN, letter):
        return _OWN
    found = next((font for font in (*_in_use, *_fonts_here()) if _has(font, letter)), None)
    if found is not None and found not in _in_use:
        _in_use.append(found)
    return found


_in_use: list[Path] = []


@functools.cache
def _fonts_here() -> Sequence[Path]:
    """Return the font files of this machine, plain upright ones first."""
    found = []
    for folder in font_folders():
        found += [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    return sorted(found, key=_fanciness)


def _fanciness(font: Path) -> int:
    name = font.stem.lower()
    fancy = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "serif", "symbol", "math")
    return sum(word in name for word in fancy)


@functools.lru_cache(maxsize=100_000)
def _has(font: Path | str, letter: str) -> bool:
    """Return whether a font has a letter; every font has spaces and control characters."""
    if unicodedata.category(letter)[0] in "ZC" and letter != _NO_CHARACTER:
        return True
    drawn = _drawn(font, letter)
    return bool(drawn) and drawn != _drawn(font, _NO_CHARACTER)


@functools.lru_cache(maxsize=100_000)
def _drawn(font: Path | str, letter: str) -> bytes:
    """Return the pixels of a letter; empty where the font draws nothing, or cannot be opened at this size."""
    try:
        opened = _opened(font, _PROBE_SIZE)
    except OSError:
        # Not a font, or one of pictures in a single size.
        return b""
    mask = opened.getmask(letter)
    return bytes(mask) if mask.getbbox() else b""


@functools.cache
def _opened(font: Path | str, size: int) -> ImageFont.FreeTypeFont:
    return _own_font(size) if font == _OWN else ImageFont.truetype(str(font), size)


@functools.cache
def _own_font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
