"""How a field is declared: once, with its default, range, help text and panel."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


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
