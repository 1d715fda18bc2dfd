"""The settings on the page of a training: by section of the configuration, what is not the default stands out."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping

from blissmask.config.fields.option import Section
from blissmask.config.model import Config
from blissmask.tasks.train.settings import REMEMBERED

_MODEL = "model"
_OF_THE_RUN = "the run"


def settings(config: Config, remembered: Mapping[str, object]) -> Iterator[str]:
    """Yield the model's files, what a training state remembers of each section, and what it knows besides.

    Args:
        config: of the training.
        remembered: ``TrainPlan.settings``.
    """
    left = dict(remembered)
    given = config.model.model_dump(mode="json", exclude_none=True)
    sections: dict[str, dict[str, object]] = {
        _MODEL: {name: value for name, value in given.items() if isinstance(value, str)}
    }
    for name in REMEMBERED:
        section: Section = getattr(config, name)
        sections[name] = {field: left.pop(field) for field in type(section).model_fields if field in left}
    sections[_OF_THE_RUN] = {name: value for name, value in left.items() if name not in sections[_MODEL]}
    yield "<p>What is not the default stands out.</p><div class=settings>"
    for name, values in sections.items():
        defaults = {} if name == _OF_THE_RUN else type(getattr(config, name))().model_dump(mode="json")
        yield from _section(name, values, defaults)
    yield "</div>"


def _section(name: str, values: Mapping[str, object], defaults: Mapping[str, object]) -> Iterator[str]:
    """Yield the settings of a section that have a value."""
    shown = {setting: value for setting, value in values.items() if value not in (None, [], [""])}
    if not shown:
        return
    yield f"<section><h3>{html.escape(name)}</h3><dl>"
    for setting, value in shown.items():
        kind = " class=set" if setting in defaults and value != defaults[setting] else ""
        yield f"<div{kind}><dt>{html.escape(setting)}</dt><dd>{html.escape(_text(value))}</dd></div>"
    yield "</dl></section>"


def _text(value: object) -> str:
    """Return a value as a configuration has it, without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
