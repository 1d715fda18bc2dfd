"""Read the prompts of previews, in the formats of musubi-tuner.

- ``.txt``: one prompt a line, ``a portrait of kyla --w 832 --h 480 --f 81 --d 42 --s 20 --n blurred``; ``#`` starts a
  comment.
- ``.toml``: a ``[[prompt.subset]]`` table for each prompt; ``[prompt]`` holds what they share.
- ``.json``: a list of tables or lines.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blissmask.config.sections.dataset_section import MAX_SIDE
from blissmask.documents import DocumentError, parse_json, parse_toml, refuse_half_characters
from blissmask.errors import Problem, UsageError
from blissmask.storage.limits import MOST_CONFIG, refuse_larger
from blissmask.storage.near_miss import near_miss
from blissmask.storage.ordinary import read_text

_OPTION_START = re.compile(r"\s+--(?=[A-Za-z])")


@dataclass(frozen=True, slots=True)
class PreviewPrompt:
    """A prompt as it is written; None where it leaves something open.

    Fields have the names of musubi-tuner's keys.

    Attributes:
        place: file and line, for messages.
        prompt: what to draw.
        width, height: in pixels.
        frame_count: 1 for a picture.
        seed: of the noise.
        sample_steps: denoising steps.
        guidance_scale: embedded guidance of a distilled model; other models take it as ``cfg_scale``.
        cfg_scale: scale of classifier-free guidance.
        discrete_flow_shift: shift of the noise levels.
        negative_prompt: what classifier-free guidance leads away from.
        image_path: first frame.
        control_image_path: control pictures.
    """

    place: str
    prompt: str
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    seed: int | None = None
    sample_steps: int | None = None
    guidance_scale: float | None = None
    cfg_scale: float | None = None
    discrete_flow_shift: float | None = None
    negative_prompt: str | None = None
    image_path: Path | None = None
    control_image_path: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Option:
    """How one field is written, and what it takes.

    Attributes:
        letters: its name in a line, without the dashes.
        key: its name in a table, and in :class:`PreviewPrompt`.
        kind: of its value.
        lowest, highest: range of a number, inclusive.
    """

    letters: str
    key: str
    kind: type
    lowest: float = 0
    highest: float = float("inf")


_OPTIONS = (
    _Option("w", "width", int, lowest=1, highest=MAX_SIDE),
    _Option("h", "height", int, lowest=1, highest=MAX_SIDE),
    _Option("f", "frame_count", int, lowest=1),
    _Option("d", "seed", int, highest=2**63 - 1),
    _Option("s", "sample_steps", int, lowest=1, highest=1000),
    _Option("g", "guidance_scale", float),
    _Option("l", "cfg_scale", float),
    _Option("fs", "discrete_flow_shift", float, lowest=0.01),
    _Option("n", "negative_prompt", str),
    _Option("i", "image_path", Path),
    _Option("ci", "control_image_path", Path),
)
_BY_LETTERS = {option.letters: option for option in _OPTIONS}
_BY_KEY = {option.key: option for option in _OPTIONS}
_SEVERAL = "control_image_path"
"""The only option that may be given several times."""

_NOT_OFFERED = {"ei": "end_image_path", "cn": "control_video_path", "of": "one_frame"}
"""Options of musubi-tuner that are not offered here: letters -> key."""

_NOUNS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}
_TAKEN_AS: Mapping[type, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), Path: (str,)}
"""Kind of an option -> the types of values that are taken for it."""


class _WrongError(Exception):
    """One mistake in a prompt; the text names it."""


def read_prompts(path: Path) -> list[PreviewPrompt]:
    """Return the prompts of a ``.txt``, ``.toml`` or ``.json`` file, in order.

    Raises:
        UsageError: the file cannot be read, or prompts are wrong; each is named with its line and the nearest valid
            option.
    """
    prompts = parse_prompts(_read_file(path))
    if not prompts:
        raise UsageError("the file holds no prompt", where=[path], fix="write one prompt a line")
    return prompts


def parse_prompts(listed: Iterable[tuple[str, Any]]) -> list[PreviewPrompt]:
    """Return prompts that are written as lines or tables, each with its place for messages.

    Raises:
        UsageError: prompts are wrong; each is named with its place and the nearest valid option.
    """
    prompts: list[PreviewPrompt] = []
    problems: list[Problem] = []
    for place, written in listed:
        try:
            prompts.append(_parse_line(written, place) if isinstance(written, str) else _parse_table(written, place))
        except _WrongError as error:
            problems.append(Problem(f"{place}: {error}"))
    if problems:
        raise UsageError.several(problems)
    return prompts


def _read_file(path: Path) -> list[tuple[str, Any]]:
    """Return (place, line or table) of each prompt.

    Raises:
        UsageError: the file cannot be read, or is not of its format.
    """
    readers = {".txt": _from_text, ".toml": _from_toml, ".json": _from_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            "prompts are read from .txt, .toml and .json files", where=[path], fix="rename the file by what it holds"
        )
    try:
        refuse_larger(path, MOST_CONFIG)
        return reader(read_text(path, encoding="utf-8-sig"), path.name)
    except OSError as error:
        raise UsageError(
            f"the prompts cannot be read: {error.strerror}",
            where=[path],
            fix=near_miss(path) or "check `sample_prompts`",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("the prompts are not UTF-8 text", where=[path], fix="save the file as UTF-8") from error
    except DocumentError as error:
        where = [f"{path}, {error.place}" if error.place else path]
        raise UsageError(f"the prompts cannot be parsed: {error}", where=where, fix=error.fix) from error
    except _WrongError as error:
        raise UsageError(str(error), where=[path]) from error


def _from_text(content: str, name: str) -> list[tuple[str, Any]]:
    written = []
    for number, line in enumerate(content.splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            written.append((f"{name}, line {number}", text))
    return written


def _from_toml(content: str, name: str) -> list[tuple[str, Any]]:
    shared = parse_toml(content).get("prompt")
    subsets = shared.get("subset") if isinstance(shared, dict) else None
    if not isinstance(shared, dict) or not isinstance(subsets, list):
        raise _WrongError("there is no `[[prompt.subset]]` table: each prompt is one")
    common = {key: value for key, value in shared.items() if key != "subset"}
    written = []
    for number, subset in enumerate(subsets, 1):
        table = {**common, **subset} if isinstance(subset, dict) else subset
        written.append((f"{name}, [[prompt.subset]] {number}", table))
    return written


def _from_json(content: str, name: str) -> list[tuple[str, Any]]:
    data = parse_json(content)
    refuse_half_characters(data)
    if not isinstance(data, list):
        raise _WrongError("the file must hold a list of prompts")
    return [(f"{name}, prompt {number}", written) for number, written in enumerate(data, 1)]


def _parse_line(line: str, place: str) -> PreviewPrompt:
    text, *options = _OPTION_START.split(f" {line}")
    values: dict[str, Any] = {}
    for written in options:
        letters, _, value = written.partition(" ")
        option = _BY_LETTERS.get(letters.lower())
        if option is None:
            raise _unknown_option(f"--{letters}", letters, valid=[f"--{known}" for known in _BY_LETTERS])
        _set(values, option, _as_number(value.strip(), option.kind), shown=f"--{letters}")
    return _prompt(place, text, values)


def _parse_table(table: Any, place: str) -> PreviewPrompt:
    if not isinstance(table, dict):
        raise _WrongError("a prompt must be a table or a line of text")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "prompt":
            continue
        option = _BY_KEY.get(key)
        if option is None:
            raise _unknown_option(key, key, valid=["prompt", *_BY_KEY])
        given = value if key == _SEVERAL and isinstance(value, list) else [value]
        for single in given:
            _set(values, option, single, shown=f"`{key}`")
    return _prompt(place, table.get("prompt", ""), values)


def _prompt(place: str, text: Any, values: Mapping[str, Any]) -> PreviewPrompt:
    if not isinstance(text, str) or not text.strip():
        raise _WrongError("there is no text to draw")
    return PreviewPrompt(place=place, prompt=text.strip(), **values)


def _set(values: dict[str, Any], option: _Option, value: Any, *, shown: str) -> None:
    """Check the value of ``option`` and put it into ``values``; messages call the option ``shown``."""
    fits = isinstance(value, _TAKEN_AS[option.kind]) and not isinstance(value, bool)
    if not fits or (option.kind is Path and not value):
        raise _WrongError(f"{shown} must be {_NOUNS[option.kind]}, got {value!r}")
    if option.kind is Path and "\0" in value:
        raise _WrongError(f"{shown} has a null character in it")
    if isinstance(value, (int, float)) and not option.lowest <= value <= option.highest:
        limit = f"<= {option.highest:g}" if value > option.highest else f">= {option.lowest:g}"
        raise _WrongError(f"{shown} must be {limit}, got {value}")
    if option.key == _SEVERAL:
        values[option.key] = (*values.get(option.key, ()), Path(value))
    elif option.key in values:
        raise _WrongError(f"{shown} is given twice")
    else:
        values[option.key] = option.kind(value)


def _as_number(text: str, kind: type) -> Any:
    """Return typed text as a number; text that is none stays as it is, and is refused by :func:`_set`."""
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        return text


def _unknown_option(shown: str, name: str, *, valid: Iterable[str]) -> _WrongError:
    """Return the error about an option that does not exist, with the nearest of ``valid``."""
    if name.lower() in _NOT_OFFERED or name in _NOT_OFFERED.values():
        return _WrongError(f"`{shown}` is an option of musubi-tuner that is not offered here")
    valid = list(valid)
    # People type a table's key in a line and a line's letters in a table: both lead to the right spelling.
    spellings: dict[str, str] = {}
    for option in _OPTIONS:
        written = f"--{option.letters}" if f"--{option.letters}" in valid else option.key
        spellings[option.key] = spellings[option.letters] = written
    near = difflib.get_close_matches(name.lower(), spellings, n=1)
    hint = f"did you mean `{spellings[near[0]]}`?" if near else f"there are {', '.join(valid)}"
    return _WrongError(f"unknown option `{shown}`, {hint}")
