"""What a declared field accepts: its range, its choices, and the type of its values."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

import annotated_types
from pydantic.fields import FieldInfo


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
