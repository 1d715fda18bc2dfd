"""Parse TOML and JSON that people write: a mistake names its line, shows it, and says how to mend it."""

from __future__ import annotations

import json
import re
from typing import Any

import tomli

_CURLY = "“”„‟‘’‚‛«»‹›＂＇"
"""Quotes of word processors and keyboards; TOML knows straight ones alone."""
_BARE_VALUE = re.compile(r"(?P<key>[^=#]*?)\s*=\s*(?P<value>[^\s\"'\[{#][^#]*?)\s*(?:#.*)?")
_SWITCHES = {"true": "true", "false": "false", "yes": "true", "no": "false", "on": "true", "off": "false"}
_TEXT_UNCLOSED = ("Illegal character '\\n'", "Unterminated string", 'Expected "\'"')
"""How tomli's messages begin for a text whose closing quote is missing."""
_KEY, _END = r"(?P<key>[\w.-]+)\s*=\s*", r"\s*(?:#.*)?"
_SLIPS = tuple(
    (re.compile(pattern + _END), fix)
    for pattern, fix in (
        (_KEY + "(?:[Nn]one|null|nil)?", "write a value, or leave `{key}` out"),
        (r"(?P<key>[\w.-]+)\s*(?::|=>|:=|==)\s*(?P<value>[^=]+?)", "write `{key} = {value}`"),
        (_KEY + r"(?P<value>[^\[{]+?)\s*[,;]", "write `{key} = {value}`, with nothing behind the value"),
        (_KEY + r"(?P<whole>0),(?P<rest>\d+(?:e-?\d+)?)", "decimals have a point: `{key} = {whole}.{rest}`"),
        (_KEY + r"(?P<whole>\d+),(?P<rest>\d+e-?\d+)", "decimals have a point: `{key} = {whole}.{rest}`"),
        (
            _KEY + r"(?P<one>\d{1,3}),(?P<two>\d{3}),(?P<three>\d{3})",
            "write `{key} = {one}{two}{three}`, without commas",
        ),
        (_KEY + r"(?P<one>\d{1,3}),(?P<two>0\d\d)", "write `{key} = {one}{two}`, without a comma"),
        (
            _KEY + r"(?P<one>\d{1,3}),(?P<two>\d{3})",
            "write a list, `{key} = [{one}, {two}]`, or a number without a comma, `{key} = {one}{two}`",
        ),
        (
            _KEY + r"(?P<one>\d+),(?P<two>\d+)",
            "write a list, `{key} = [{one}, {two}]`, or a number with a point, `{key} = {one}.{two}`",
        ),
        (_KEY + r"(?P<one>\d+)(?:\s*[xX\u00d7*,;]\s*|\s+)(?P<two>\d+)", "write a list: `{key} = [{one}, {two}]`"),
        (_KEY + r"\.(?P<rest>\d+)", "write `{key} = 0.{rest}`"),
        (_KEY + r"\[[^\]]*;.*", "values of a list have commas between them"),
        (_KEY + r"\[.*[\"'\d]\s+[\"'\d].*", "values of a list have commas between them"),
        (_KEY + r"'[^']*'[^'\s,].*'", "a text that holds ' stands in double quotes"),
        (_KEY + r'"[^"]*"[^"\s,].*"', 'a text that holds " stands in single quotes'),
        (r"\[\[(?P<name>[\w.-]+)\]?", "close it as it begins: `[[{name}]]`"),
        (r"\[(?P<name>[\w.-]+)\]\]", "close it as it begins: `[{name}]`, or begin it as it ends: `[[{name}]]`"),
        (r"\[(?P<name>[\w.-]+)", "close it as it begins: `[{name}]`"),
        (r"(?://|--|;|/\*).*", "comments begin with #"),
        (r"\{.*", "a JSON file is read as such where its name ends in `.json`"),
    )
)
"""Lines of TOML as people who know other formats write them, and how they are written."""
_OF_SEVERAL = re.compile(r"\[{1,2}(?P<name>datasets|subjects)\]{1,2}" + _END)
"""The tables of which a configuration may hold several."""
_MESSAGES = {
    "Cannot overwrite a value": "it stands there twice: keep one of them",
    "Cannot declare": "the table stands there twice: write all of its keys under one",
    "Unclosed array": "close the list before this with `]`",
    "Unclosed inline table": "close the table before this with `}`",
}
"""How tomli's messages begin, and what helps where the line is none of :data:`_SLIPS`."""
_MOST_MATCHED = 300
"""Characters of a line that is matched against patterns: the time grows with the square of them."""
_MOST_SHOWN = 100
"""Characters of a line that are shown, so that the message stays on a screen."""


class DocumentError(ValueError):
    """A text that is no TOML or JSON.

    Args:
        what: the sentence.
        place: the line and its number, e.g. ``line 4: image_directory = photos``; empty when it is not about one line.
        fix: how to mend it; empty when there is nothing to suggest.
    """

    def __init__(self, what: str, *, place: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.place = place
        self.fix = fix


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML document.

    Raises:
        DocumentError: it is none.
    """
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        number, message = error.lineno, error.msg
        if message.startswith(_TEXT_UNCLOSED):
            # tomli notices only where the next quote is missing, which may be lines later.
            number = next((at for at, line in enumerate(text.splitlines()[:number], 1) if _is_open(line)), number)
            message = "a text has no closing quote"
        line = _line(text, number)
        raise DocumentError(message, place=_place(number, line), fix=_toml_fix(message, line)) from error
    except (RecursionError, ValueError) as error:
        raise _too_much(error) from error


def parse_json(text: str) -> Any:
    """Return the value of a JSON document; :func:`refuse_half_characters` checks its texts.

    Raises:
        DocumentError: it is none.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = _place(error.lineno, _line(text, error.lineno))
        raise DocumentError(f"{error.msg} at column {error.colno}", place=place) from error
    except (RecursionError, ValueError) as error:
        raise _too_much(error) from error


def refuse_half_characters(value: Any) -> None:
    """Refuse half of a surrogate pair, which JSON can spell and no file name and no tokenizer takes.

    Args:
        value: as :func:`parse_json` returned it.

    Raises:
        DocumentError: there is one in a text or a key.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DocumentError(f"a text holds {error.object[error.start]!a}, half a character") from error


def _too_much(error: Exception) -> DocumentError:
    """Return the error for brackets or numbers that Python's own limits stop (``sys.set_int_max_str_digits``)."""
    if isinstance(error, RecursionError):
        return DocumentError("brackets or dotted keys are nested too deeply")
    return DocumentError("a number has too many digits")


def _line(text: str, number: int) -> str:
    lines = text.split("\n")
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _place(number: int, line: str) -> str:
    shown = line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}..."
    return f"line {number}: {shown}" if shown else f"line {number}"


def _is_open(line: str) -> bool:
    """Return whether a text that begins on ``line`` is not closed on it; texts in triple quotes may go on."""
    quote, escaped = "", False
    if '"""' in line or "'''" in line:
        return False
    for char in line:
        if escaped:
            escaped = False
        elif quote == '"' and char == "\\":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#":
            break
    return bool(quote)


def _toml_fix(message: str, line: str) -> str:
    """Return how to mend a line of TOML; empty when nothing is known about it."""
    if any(char in line for char in _CURLY):
        return "these are curly quotes; write straight ones, \" or '"
    if "\\" in line and any(word in message.lower() for word in ("hex", "escape")):
        return "in double quotes a backslash starts an escape: write paths with / or in single quotes"
    if message == "a text has no closing quote":
        return "close it with the quote that it begins with"
    if len(line) > _MOST_MATCHED:
        return ""
    if message.startswith("Cannot") and (heading := _OF_SEVERAL.fullmatch(line)) is not None:
        return "each of several begins with `[[{name}]]`, the first one, too".format(**heading.groupdict())
    # A line that is right in itself is not taken for a slip: its message is about another one.
    slips = () if message.startswith("Cannot") else _SLIPS
    for pattern, fix in slips:
        if (slip := pattern.fullmatch(line)) is not None:
            return fix.format(**slip.groupdict())
    bare = _BARE_VALUE.fullmatch(line)
    if message == "Invalid value" and bare is not None:
        return _bare_fix(bare["key"], bare["value"])
    return next((fix for begin, fix in _MESSAGES.items() if message.startswith(begin)), "")


def _bare_fix(key: str, value: str) -> str:
    """Return how to write a value that stands without quotes."""
    if value.lower() in _SWITCHES:
        return f"write `{key} = {_SWITCHES[value.lower()]}`"
    if "=" in value or not any(char.isalpha() for char in value):
        return ""
    quote = "'" if "\\" in value else '"'
    return f"text stands in quotes: `{key} = {quote}{value}{quote}`"
