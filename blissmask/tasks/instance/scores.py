"""The scores of all items, as a file among the masks.

Each decision can be understood from it later, and items that were left out stay decided.

With ``--on-missing skip`` nothing is written for an item without the subject, so no note in a mask says that it was
looked at. The scores file says it instead: of which content and with which settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.media.png import Note
from blissmask.storage import atomic
from blissmask.tasks.instance.answers import Answer, read_answer
from blissmask.tasks.instance.report import Score, read_score
from blissmask.tasks.mask_files.media_plan import Making
from blissmask.tasks.mask_files.output_notes import read_record, what_changed
from blissmask.tasks.run.plan import Action, PlannedItem

COMMAND = "instance"
SCORES_NAME = "blissmask-scores.json"
_ANSWERS = "answers"
LEFT_OUT = "looked at before, the subject is not in it"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An item for which nothing was written.

    Attributes:
        note: how its mask would have been made, see ``output_notes.make_note``.
        score: why nothing was written.
    """

    note: Mapping[str, object]
    score: Score


def write_scores(
    folder: Path,
    scores: Mapping[str, Score],
    left_out: Mapping[str, LeftOut],
    making: Making,
    references: Sequence[str],
    answers: Mapping[str, Answer],
    *,
    keep_others: bool = False,
) -> None:
    """Publish the scores of all items, with settings and licences, as :data:`SCORES_NAME` in ``folder``.

    Args:
        folder: where the masks are.
        scores: by item, including those of ``left_out``.
        left_out: by item, the items without a mask.
        making: how masks are made; the settings of the file.
        references: the reference photos.
        answers: what was said about who the subject is, by item.
        keep_others: whether other items that the file holds stay: those of the other processes of a job array.
    """
    items: dict[str, object] = {key: score.to_json() for key, score in scores.items()}
    without_mask: dict[str, object] = {key: _without(making.settings, item.note) for key, item in left_out.items()}
    if keep_others:
        before = read_record(folder / SCORES_NAME) or {}
        items = {**_table(before.get("items")), **items}
        without_mask = {
            **{key: note for key, note in _table(before.get("left_out")).items() if key not in scores},
            **without_mask,
        }
    document = {
        "command": COMMAND,
        "settings": dict(making.settings),
        "licences": list(making.licences),
        "references": list(references),
        "items": items,
        "left_out": without_mask,
        **_answers_to_json(answers),
    }
    _publish(folder, document)


def record_answer(
    folder: Path,
    key: str,
    score: Score,
    answers: Mapping[str, Answer],
    making: Making,
    references: Sequence[str],
) -> None:
    """Put what was said about one item, and its new score, into the scores file; arguments as in :func:`write_scores`.

    Raises:
        MediaError: the scores file is there but cannot be read.
        MachineError: it cannot be written.
    """
    document = read_record(folder / SCORES_NAME)
    if document is None or document.get("command") != COMMAND:
        write_scores(folder, {key: score}, {}, making, references, answers)
        return
    left_out = {other: note for other, note in _table(document.get("left_out")).items() if other != key}
    items = {**_table(document.get("items")), key: score.to_json()}
    rest = {name: value for name, value in document.items() if name != _ANSWERS}
    _publish(folder, {**rest, "items": items, "left_out": left_out, **_answers_to_json(answers)})


def read_answers(folder: Path) -> dict[str, Answer]:
    """Return what was said about who the subject is, by item.

    Raises:
        MediaError: the scores file is there but cannot be read.
    """
    document = read_record(folder / SCORES_NAME) or {}
    answers = {key: read_answer(value) for key, value in _table(document.get(_ANSWERS)).items()}
    return {key: answer for key, answer in answers.items() if answer}


def _answers_to_json(answers: Mapping[str, Answer]) -> dict[str, object]:
    given = {key: answer.to_json() for key, answer in answers.items() if answer}
    return {_ANSWERS: given} if given else {}


def _publish(folder: Path, document: Mapping[str, object]) -> None:
    atomic.write_text(folder / SCORES_NAME, json.dumps(document, indent=1, ensure_ascii=True) + "\n")


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def read_left_out(folder: Path) -> dict[str, LeftOut]:
    """Return the items that an earlier run left out, by key; empty where there is no scores file of ours.

    Raises:
        MediaError: the scores file is there but cannot be read.
    """
    document = read_record(folder / SCORES_NAME) or {}
    settings, items, left_out = (document.get(name) for name in ("settings", "items", "left_out"))
    if document.get("command") != COMMAND or not (
        isinstance(settings, dict) and isinstance(items, dict) and isinstance(left_out, dict)
    ):
        return {}
    return {
        key: LeftOut({**note, "settings": {**settings, **note["settings"]}}, read_score(items[key]))
        for key, note in left_out.items()
        if isinstance(note, dict) and isinstance(note.get("settings"), dict) and isinstance(items.get(key), dict)
    }


def decide_left_out(item: PlannedItem, left_out: Mapping[str, LeftOut], making: Making) -> PlannedItem:
    """Leave an item out again when it was left out before with the same content and the same settings.

    Where something changed since then, the reason names it.

    Raises:
        MediaError: the photo or video cannot be read.
    """
    before = left_out.get(item.key)
    if before is None or item.action is not Action.WRITE or making.force or item.target.exists():
        return item
    source = item.inputs[0]
    change = what_changed(Note(before.note, untouched=True), (source,), making.settings_for(source))
    if change:
        return item.because(f"{item.reason}, {change}")
    return item.because(LEFT_OUT, Action.SKIP)


def _without(settings: Mapping[str, object], note: Mapping[str, object]) -> dict[str, object]:
    """Return what decides freshness in ``note``, without the settings that the whole file has."""
    own = note["settings"]
    assert isinstance(own, Mapping)
    return {
        "version": note["version"],
        "inputs": note["inputs"],
        "settings": {name: value for name, value in own.items() if name not in settings},
    }
