"""Arguments of other libraries' classes and functions, as users type them: ``KEY=VALUE``."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from blissmask.errors import Problem, UsageError

_WORDS: Mapping[str, object] = {"true": True, "false": False, "none": None}
"""As TOML and shells write what Python writes with a capital. As text, ``false`` would count as true."""
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parse_arguments(texts: Sequence[str], *, option: str) -> dict[str, Any]:
    """Read ``KEY=VALUE`` texts, values as Python literals or else as text; only the first ``=`` separates.

    Args:
        texts: what was typed.
        option: where it was typed, for messages.

    Raises:
        UsageError: a text has no ``=``, or a key is given twice.
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        key, separator, value = (part.strip() for part in text.partition("="))
        if not separator:
            raise UsageError(f"`{text}` of `{option}` must be written KEY=VALUE", fix="e.g. `betas=0.9,0.99`")
        if key in arguments:
            raise UsageError(f"`{option}` gives `{key}` twice", fix="leave one of the two out")
        arguments[key] = _value(value)
    return arguments


def _value(text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def accepted_by(make: Callable[..., object], *, but: Iterable[str]) -> list[str] | None:
    """Return the names of the arguments of a class or a function, without ``but``; None where it takes any."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        # Written in C without saying what it takes.
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [each.name for each in parameters if each.kind in _BY_NAME and each.name not in but]


def refuse_unknown(given: Iterable[str], accepted: Sequence[str] | None, *, of: str, option: str) -> None:
    """Raise UsageError for arguments that a class or a function does not take, naming each with the nearest one.

    Args:
        given: names of the arguments.
        accepted: the names that there are; None where any is taken.
        of: what takes them, for messages.
        option: where they were typed, for messages.
    """
    if accepted is None:
        return
    problems = [
        Problem(f"{of} does not take `{name}` of `{option}`", fix=_nearest(name, accepted))
        for name in given
        if name not in accepted
    ]
    if problems:
        raise UsageError.several(problems)


def _nearest(name: str, accepted: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, accepted, n=1)
    return f"did you mean `{near[0]}`?" if near else f"it takes {', '.join(accepted) or 'none'}"
