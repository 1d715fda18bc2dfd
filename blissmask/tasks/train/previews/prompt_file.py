"""Read the prompts of previews, as musubi-tuner writes them.

Text holds one prompt a line, ``a portrait of kyla --w 832 --h 480 --f 81 --d 42 --s 20 --n blurred``; ``#`` starts a
comment. TOML holds a ``[[prompt.subset]]`` table for each and what they share in ``[prompt]``, JSON a list of tables or
lines.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from blissmask.errors import Problem, UsageError

_OPTION = re.compile(r"\s+--(?=[A-Za-z])")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a prompt file says of one picture or clip; None where it leaves something open.

    Attributes:
        place: file and line, for messages.
        prompt: what to draw.
        width, height, frame_count: in pixels and frames, as written.
        seed: of the noise.
        sample_steps: denoising steps.
        guidance_scale: what a distilled model is told; for other models the same as ``cfg_scale``.
        cfg_scale: of classifier-free guidance.
        discrete_flow_shift: of the noise levels.
        negative_prompt: what to stay away from.
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
    """How one setting is written: ``--letters`` in a line, ``key`` in a table; numbers lie in [``lowest``, ``highest``]."""

    letters: str
    key: str
    kind: type
    lowest: float = 0
    highest: float = float("inf")


_OPTIONS = (
    _Option("w", "width", int, 1),
    _Option("h", "height", int, 1),
    _Option("f", "frame_count", int, 1),
    _Option("d", "seed", int, highest=2**63 - 1),
    _Option("s", "sample_steps", int, 1, 1000),
    _Option("g", "guidance_scale", float),
    _Option("l", "cfg_scale", float),
    _Option("fs", "discrete_flow_shift", float, 0.01),
    _Option("n", "negative_prompt", str),
    _Option("i", "image_path", Path),
    _Option("ci", "control_image_path", Path),
)
_NOT_OFFERED = {"ei": "end_image_path", "cn": "control_video_path", "of": "one_frame"}
_NOUNS = {int: "a whole number", float: "a number", str: "text", Path: "a path"}


class _WrongError(Exception):
    """One thing that is wrong with a prompt; its text says what."""


def read_prompts(path: Path) -> list[Prompt]:
    """Return the prompts of a ``.txt``, ``.toml`` or ``.json`` file, in order.

    Raises:
        UsageError: the file cannot be read, or prompts are wrong; each is named with its line and the nearest valid
            option.
    """
    readers = {".txt": _from_text, ".toml": _from_toml, ".json": _from_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            "prompts are read from .txt, .toml and .json files", where=[path], fix="rename the file by what it holds"
        )
    try:
        raw = reader(path.read_text(encoding="utf-8-sig"), path.name)
    except OSError as error:
        raise UsageError(
            f"the prompts cannot be read: {error.strerror}", where=[path], fix="check `sample_prompts`"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("the prompts are not UTF-8 text", where=[path], fix="save the file as UTF-8") from error
    except (tomli.TOMLDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"the prompts cannot be parsed: {error}", where=[path]) from error
    except _WrongError as error:
        raise UsageError(str(error), where=[path]) from error
    prompts, problems = [], []
    for place, written in raw:
        try:
            prompts.append(_parse_line(written, place) if isinstance(written, str) else _parse_table(written, place))
        except _WrongError as error:
            problems.append(Problem(f"{place}: {error}"))
    if problems:
        raise UsageError.several(problems)
    if not prompts:
        raise UsageError("the file holds no prompt", where=[path], fix="write one prompt a line")
    return prompts


def _from_text(content: str, name: str) -> list[tuple[str, Any]]:
    lines = enumerate(content.splitlines(), 1)
    return [
        (f"{name}, line {number}", line.strip())
        for number, line in lines
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _from_toml(content: str, name: str) -> list[tuple[str, Any]]:
    data = tomli.loads(content)
    shared = data.get("prompt")
    subsets = shared.get("subset") if isinstance(shared, dict) else None
    if not isinstance(shared, dict) or not isinstance(subsets, list):
        raise _WrongError("there is no `[[prompt.subset]]` table: each prompt is one")
    common = {key: value for key, value in shared.items() if key != "subset"}
    places = [f"{name}, [[prompt.subset]] {number}" for number in range(1, len(subsets) + 1)]
    return [
        (place, {**common, **subset} if isinstance(subset, dict) else subset)
        for place, subset in zip(places, subsets, strict=True)
    ]


def _from_json(content: str, name: str) -> list[tuple[str, Any]]:
    data = json.loads(content)
    if not isinstance(data, list):
        raise _WrongError("the file must hold a list of prompts")
    return [(f"{name}, prompt {number}", written) for number, written in enumerate(data, 1)]


def _parse_line(line: str, place: str) -> Prompt:
    text, *options = _OPTION.split(f" {line}")
    values: dict[str, Any] = {}
    for option in options:
        letters, _, value = option.partition(" ")
        known = next((known for known in _OPTIONS if known.letters == letters.lower()), None)
        if known is None:
            raise _unknown(f"--{letters}", letters, [f"--{known.letters}" for known in _OPTIONS])
        _set(values, known, _number(value.strip(), known.kind), f"--{letters}")
    return _prompt(place, text, values)


def _parse_table(table: Any, place: str) -> Prompt:
    if not isinstance(table, dict):
        raise _WrongError("a prompt must be a table or a line of text")
    values: dict[str, Any] = {}
    for key, value in table.items():
        known = next((known for known in _OPTIONS if known.key == key), None)
        if key == "prompt":
            continue
        if known is None:
            raise _unknown(key, key, ["prompt", *(known.key for known in _OPTIONS)])
        for one in value if known.key == "control_image_path" and isinstance(value, list) else [value]:
            _set(values, known, one, f"`{key}`")
    return _prompt(place, table.get("prompt", ""), values)


def _prompt(place: str, text: Any, values: Mapping[str, Any]) -> Prompt:
    if not isinstance(text, str) or not text.strip():
        raise _WrongError("there is no text to draw")
    return Prompt(place, text.strip(), **values)


def _set(values: dict[str, Any], option: _Option, value: Any, shown: str) -> None:
    """Check one value and put it into ``values``; control pictures may be given several times."""
    kinds: dict[type, Any] = {int: int, float: (int, float), str: str, Path: str}
    if not isinstance(value, kinds[option.kind]) or isinstance(value, bool) or (option.kind is Path and not value):
        raise _WrongError(f"{shown} must be {_NOUNS[option.kind]}, got {value!r}")
    if isinstance(value, (int, float)) and not option.lowest <= value <= option.highest:
        limit = f"<= {option.highest:g}" if value > option.highest else f">= {option.lowest:g}"
        raise _WrongError(f"{shown} must be {limit}, got {value}")
    if option.key == "control_image_path":
        values[option.key] = (*values.get(option.key, ()), Path(value))
    elif option.key in values:
        raise _WrongError(f"{shown} is given twice")
    else:
        values[option.key] = option.kind(value)


def _number(text: str, kind: type) -> Any:
    """Turn typed text into a number; what is none stays text, to be refused by name."""
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        return text


def _unknown(shown: str, name: str, valid: list[str]) -> _WrongError:
    if name.lower() in _NOT_OFFERED or name in _NOT_OFFERED.values():
        return _WrongError(f"`{shown}` is an option of musubi-tuner that is not offered here")
    # People type a table's key in a line and a line's letters in a table: both lead to the right spelling.
    spellings = {
        known.key: written for known in _OPTIONS for written in valid if written in (f"--{known.letters}", known.key)
    }
    spellings |= {known.letters: spellings[known.key] for known in _OPTIONS if known.key in spellings}
    near = difflib.get_close_matches(name.lower(), spellings, n=1)
    hint = f"did you mean `{spellings[near[0]]}`?" if near else f"there are {', '.join(valid)}"
    return _WrongError(f"unknown option `{shown}`, {hint}")
