"""How a field of the configuration is written: once, with its default, range, help text and panel."""

from __future__ import annotations

import os
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import AfterValidator, AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic.fields import FieldInfo

_LARGEST = 2**63 - 1
"""The largest whole number of tensors, random generators and file formats: 64 bits with a sign."""
MOST_WHOLE, MOST_NUMBER = 10**9, 10.0**6
"""The largest numbers, of either sign, that a field takes which says nothing else. A billion steps take thirty years at
one a second, and counts of frames, items and repeats stay below 2**31, which every library takes. No factor, weight or
rate has a meaning at a million, and its square is still far from the largest float32."""
_TOO_LONG = 1e15
"""From here on numbers are shown as powers of ten."""
MOST_BATCH = 4096
"""Photos at a time: those of the smallest training size, 256 pixels, take over 3 GB before they are encoded."""
MOST_MICRO_BATCHES = 4096
"""Micro-batches of an optimiser step, which are all read before it begins, and those of the next step while it runs:
with captions of 128 rows of 4,096 numbers in bfloat16 each step of this many takes 4 GB. 1 to 64 are usual."""
MOST_FEATHER = 1000.0
"""Pixels or latent cells over which an outline is softened: the time grows with it, and no training side is over 8,192
pixels."""
MOST_RANK = 100_000
"""Rank of a LoRA: LyCORIS writes 100,000 for a LoKr whose large factor is not split, and no layer is so wide."""
_ESCAPED = {"\t": "t", "\n": "n", "\r": "r", "\b": "b", "\f": "f", "\x1b": "e"}
"""Control characters -> the letter that spells them behind a backslash in double quotes."""


def _of_64_bits(number: int) -> int:
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("must be a whole number of at most 18 digits")
    return number


def at_most(most: float) -> AfterValidator:
    """Return what refuses a number beyond ``most``, of either sign, for ``Annotated``; help screens do not show it."""

    def check(number: float) -> float:
        if not -most <= number <= most:
            amount = f"{most:,.0f}" if most < _TOO_LONG else f"{most:g}"
            raise ValueError(
                f"must be a number between -{amount} and {amount}"
                if number < 0
                else f"must be a number of at most {amount}"
            )
        return number

    return AfterValidator(check)


def _without_null(text: str) -> str:
    if "\0" in text:
        raise ValueError("must be text without a null character")
    return text


def _plain_suffix(text: str) -> str:
    if "/" in text or "\\" in text:
        raise ValueError("must be the end of a file name, such as .txt, without folders")
    # `_words.txt` stays, since musubi-tuner appends the suffix to the stem as it is.
    return f".{text}" if text.isalnum() else text


Seed = Annotated[int, Strict(), AfterValidator(_of_64_bits)]
"""Any whole number of 64 bits."""
Int = Annotated[int, Strict(), at_most(MOST_WHOLE)]
Finite = Annotated[float, Strict(), AllowInfNan(allow_inf_nan=False)]
Number = Annotated[Finite, at_most(MOST_NUMBER)]
Count = Annotated[Int, annotated_types.Ge(1)]
"""A whole number of at least 1."""
Index = Annotated[Int, annotated_types.Ge(0)]
"""A whole number of at least 0."""
BatchSize = Annotated[int, Strict(), at_most(MOST_BATCH)]
"""Photos at a time; see :data:`MOST_BATCH`."""
MicroBatches = Annotated[int, Strict(), at_most(MOST_MICRO_BATCHES)]
"""Micro-batches of an optimiser step; see :data:`MOST_MICRO_BATCHES`."""
Rank = Annotated[int, Strict(), at_most(MOST_RANK)]
"""Rank of a LoRA; see :data:`MOST_RANK`."""
Feather = Annotated[Finite, at_most(MOST_FEATHER)]
"""Pixels or latent cells; see :data:`MOST_FEATHER`."""
Switch = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), AfterValidator(_without_null)]
Suffix = Annotated[Text, AfterValidator(_plain_suffix)]
"""The end of file names; ``txt`` means ``.txt``."""


def _not_empty(value: object) -> object:
    # `Path("")` is the working folder, which nobody means who writes nothing.
    if value == "":
        raise ValueError("must be a path")
    return value


def _at_home(path: Path) -> Path:
    text = str(path)
    if "\0" in text:
        raise ValueError("must be a path, and no path holds a null character")
    meant = "".join(f"/{_ESCAPED[char]}" if char in _ESCAPED else char for char in text)
    # A name may hold a tab or a line break; one that is nowhere is rather a Windows path in double quotes.
    if meant != text and not os.path.lexists(path):
        escape = "in double quotes a backslash starts an escape"
        raise ValueError(f"must be a path; {escape}: write `{meant}`, or use single quotes")
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"must be a path; {error}") from error


FilePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_at_home)]
"""A path as written, ``~`` for the home folder; relative paths start at the working folder, as in musubi-tuner."""


_SHORT_DTYPES = {"fp32": "float32", "float": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def full_dtype(value: Any) -> Any:
    """Take musubi-tuner's short names of precisions."""
    return _SHORT_DTYPES.get(value, value) if isinstance(value, str) else value


DtypeName = Annotated[Literal["float32", "bfloat16", "float16"], BeforeValidator(full_dtype)]
"""A precision of weights, as torch names it."""


class Section(BaseModel):
    """One table of the configuration file. Unknown keys are errors; values are fixed after loading."""

    # Deferred: help screens read fields and validate nothing, and building the validators takes 0.05 s.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)


def option(
    default: Any,
    help_text: str,
    *,
    panel: str,
    flag: str = "",
    short: str = "",
    metavar: str = "",
    hidden: bool = False,
    first: bool = False,
    default_text: str = "",
    lasting: bool = True,
    usual: tuple[float, float] | None = None,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    **extra: Any,
) -> Any:
    """Declare a field.

    Args:
        default: the default value; ``...`` makes the field required.
        help_text: one line for the help screen, in the imperative or as a noun, without a full stop.
        panel: heading of the help screen it stands under.
        flag: command-line spelling when it differs from the field's name.
        short: one-letter spelling, e.g. ``-q``.
        metavar: what the help screen shows for the value when the type says too little.
        hidden: accepted, but not shown in the help screen.
        first: whether people change it first, so that ``--help`` shows it; the others stand under ``--help-all``.
        default_text: what the help screen calls the default when it is decided later, e.g. ``the rank``.
        lasting: whether a training state remembers the value, because it changes what the steps do. Only the sections
            that ``tasks/train/settings.py`` names are asked. False for where files go, how memory is saved, and how
            long the training is.
        usual: lowest and highest number that makes sense; another one is warned of, see :func:`unusual_numbers`.
        gt: the value must be above this; ``ge``, ``lt``, ``le`` likewise.
    """
    shown: dict[str, Any] = {
        "panel": panel,
        "flag": flag,
        "short": short,
        "metavar": metavar,
        "hidden": hidden,
        "first": first,
        "default_text": default_text,
        "lasting": lasting,
        "usual": usual,
    }
    return Field(default, description=help_text, json_schema_extra=shown, gt=gt, ge=ge, lt=lt, le=le, **extra)


def lasting_fields(section: type[Section]) -> set[str]:
    """Return the names of the fields of a section that a training state remembers; see :func:`option`."""
    return {name for name, field in section.model_fields.items() if shown_of(field)["lasting"]}


def unusual_numbers(section: Section) -> dict[str, tuple[float, float]]:
    """Return name -> usual range of each number of a section that lies outside of it."""
    found = {}
    for name, field in type(section).model_fields.items():
        value, usual = getattr(section, name), shown_of(field)["usual"]
        if usual is not None and value is not None and not usual[0] <= value <= usual[1]:
            found[name] = usual
    return found


def shown_of(field: FieldInfo) -> dict[str, Any]:
    """Return what :func:`option` was told about a field, by the names of its arguments."""
    shown = field.json_schema_extra
    assert isinstance(shown, dict)
    return dict(shown)


def range_text(field: FieldInfo) -> str:
    """Return the range of a number field, or of a list field's numbers, as people write it; "" for none.

    For example ``> 0`` or ``in range [0, 1)``.
    """
    low: Any = None
    high: Any = None
    low_closed = high_closed = False
    for constraint in (*field.metadata, *_item_constraints(field.annotation)):
        match constraint:
            case annotated_types.Gt(gt=value):
                low, low_closed = value, False
            case annotated_types.Ge(ge=value):
                low, low_closed = value, True
            case annotated_types.Lt(lt=value):
                high, high_closed = value, False
            case annotated_types.Le(le=value):
                high, high_closed = value, True
    if low is not None and high is not None:
        opening, closing = "[" if low_closed else "(", "]" if high_closed else ")"
        return f"in range {opening}{low}, {high}{closing}"
    if low is not None:
        return f"{'>=' if low_closed else '>'} {low}"
    if high is not None:
        return f"{'<=' if high_closed else '<'} {high}"
    return ""


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Return what a field with a fixed set of values takes; empty for any other."""
    kind = item_type(field.annotation)
    return tuple(map(str, typing.get_args(kind))) if typing.get_origin(kind) is typing.Literal else ()


def plain_type(annotation: Any) -> Any:
    """Return the type inside ``Optional`` and ``Annotated``: ``list`` for lists and tuples, else the class."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return plain_type(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        # A union such as `int | tuple[int, int]` takes one or several values.
        plain = [plain_type(arg) for arg in inner]
        return list if list in plain else plain[0]
    if origin in (list, tuple):
        return list
    return annotation


def _item_constraints(annotation: Any) -> tuple[Any, ...]:
    """Return what is asked of each item of a list field."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return next((found for arg in arguments if (found := _item_constraints(arg))), ())
    if origin is list:
        return typing.get_args(arguments[0])[1:]
    return ()


def item_type(annotation: Any) -> Any:
    """Return the type of one item of a list or tuple field, through ``Optional``, ``Annotated`` and unions."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return item_type(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        for arg in typing.get_args(annotation):
            if plain_type(arg) is list:
                return item_type(arg)
        return plain_type(annotation)
    if origin in (list, tuple):
        return plain_type(typing.get_args(annotation)[0])
    return plain_type(annotation)
