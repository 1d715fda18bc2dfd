"""What values fields take: kinds of numbers, texts and paths, each with its check and its origin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import AfterValidator, AllowInfNan, BeforeValidator, Strict

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
            allowed = f"between -{amount} and {amount}" if number < 0 else f"of at most {amount}"
            raise ValueError(f"must be a number {allowed}")
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
