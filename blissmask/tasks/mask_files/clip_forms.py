"""The two forms of a clip's masks: a folder of frames, or one PNG.

`cache` refuses a folder that holds both forms of one clip. After a change of `--video-masks`, the masks in the other
form are therefore removed, but only those that the same command made from the same video and that nobody touched
since. All others stay and are named.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.errors import InputError, MachineError, MediaError, Problem
from blissmask.media.png import read_note
from blissmask.plurals import counted
from blissmask.tasks.mask_files.clips import RECORD
from blissmask.tasks.mask_files.media_plan import Making, is_video
from blissmask.tasks.mask_files.output_notes import FRESH, read_record
from blissmask.tasks.run.plan import Action, PlannedItem, places_of

_LEFTOVER_SUFFIX = ".blissmask-part"
"""What `storage.atomic` calls a file that is being written."""


@dataclass(slots=True)
class OtherForms:
    """Masks of clips in the form that is not wanted.

    Attributes:
        replaced: output of an item -> masks that are removed once it is finished.
        kept: masks that stay beside the masks that are written.
    """

    replaced: dict[Path, Path] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)

    def warning(self) -> list[Problem]:
        """Name the masks that stay; an empty list when there are none."""
        return both_forms_warning(
            self.kept, "`cache` refuses both; these are edited or not ours, so remove those you do not want"
        )


def both_forms_warning(masks: Sequence[Path], fix: str) -> list[Problem]:
    """Name ``masks`` whose clips have masks in the other form as well; an empty list when there are none."""
    what = f"{counted(len(masks), 'clip')} with masks in both forms, a folder of frames and one PNG"
    return [Problem(what, places_of(masks), fix)] if masks else []


def other_form(output: Path, stem: str, *, frames: bool) -> Path | None:
    """Return the masks of a clip that are there in the other form.

    Args:
        output: its masks in the wanted form.
        stem: what the clip is called.
        frames: whether that is a folder of frames.
    """
    other = output.with_name(f"{stem}.png" if frames else stem)
    return other if other.exists() or other.is_symlink() else None


def settle_forms(items: Sequence[PlannedItem], making: Making) -> tuple[list[PlannedItem], OtherForms]:
    """Find the clips that have masks in the form that is not wanted.

    Returns:
        The items, whose reasons name the masks they replace, and the masks in the other form.
    """
    forms = OtherForms()
    planned = {item.output for item in items}
    return [_settle(item, making, forms, planned) for item in items], forms


def remove_replaced(items: Sequence[PlannedItem], forms: OtherForms, making: Making) -> None:
    """Remove the masks that are replaced by the masks of ``items``; masks that were touched since the plan stay.

    Args:
        items: finished items.
        forms: what they replace.
        making: how masks are made.

    Raises:
        MediaError: a mask cannot be read.
        MachineError: a mask cannot be removed.
    """
    for item in items:
        other = forms.replaced.get(item.target)
        if other is not None and is_ours(other, making.command, item.inputs[0]):
            remove(other)


def is_ours(output: Path, command: str, source: Path) -> bool:
    """Return whether a mask or a folder of frames was made by ``command`` from ``source`` and is untouched.

    A link never is.

    Raises:
        MediaError: it cannot be read.
    """
    if output.is_symlink():
        return False
    if output.is_dir():
        return all(_is_of_clip(path, command, source) for path in _files_in(output))
    note = read_note(output) if output.is_file() else None
    return note is not None and note.untouched and _made_from(note.content, command, source)


def remove(output: Path) -> None:
    """Remove a mask or a folder of frames.

    The record of a folder goes first, so that a killed run leaves an unfinished clip.

    Raises:
        MachineError: it cannot be removed.
    """
    try:
        if not output.is_dir():
            output.unlink(missing_ok=True)
            return
        (output / RECORD).unlink(missing_ok=True)
        for path in output.iterdir():
            path.unlink()
        output.rmdir()
    except OSError as error:
        fix = "check that you may write to the folder"
        raise MachineError(f"cannot remove: {error.strerror or error}", where=[output], fix=fix) from error


def _settle(item: PlannedItem, making: Making, forms: OtherForms, planned: Collection[Path | None]) -> PlannedItem:
    source, output = item.inputs[0], item.target
    other = other_form(output, source.stem, frames=making.is_clip(source)) if is_video(source) else None
    # What another item writes there is no other form: it is the mask of the photo of a Live Photo.
    if other is None or other in planned:
        return item
    try:
        goes = (item.action is Action.WRITE or item.reason == FRESH) and is_ours(other, making.command, source)
    except InputError as error:
        return item.failing(error.as_one())
    if goes:
        forms.replaced[output] = other
        return item.because(f"{item.reason}, replaces `{other.name}`")
    if item.action is Action.WRITE or output.exists():
        forms.kept.append(other)
    return item


def _files_in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise MediaError(f"the folder cannot be read: {error.strerror or error}", where=[folder]) from error


def _is_of_clip(path: Path, command: str, source: Path) -> bool:
    """Return whether a file in a folder of frames is ours: its record, a frame, or what a killed run left."""
    if path.is_symlink() or path.is_dir():
        return False
    if path.name == RECORD:
        return _made_from(read_record(path) or {}, command, source)
    return path.name.endswith(_LEFTOVER_SUFFIX) or is_ours(path, command, source)


def _made_from(content: Mapping[str, object], command: str, source: Path) -> bool:
    """Return whether a note is of a mask that ``command`` made from a file of that name.

    A photo may have had the name of the clip before.
    """
    inputs = content.get("inputs")
    names = [entry.get("name") for entry in inputs if isinstance(entry, dict)] if isinstance(inputs, list) else []
    return content.get("command") == command and names == [source.name]
