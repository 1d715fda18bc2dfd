"""tasks/mask_files/output_notes.py: what a note says of its inputs, and what stands in the way of an output."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import InputError
from blissmask.media.png import Note, write_png_grey
from blissmask.tasks.mask_files import output_notes
from blissmask.tasks.mask_files.output_notes import decide, keep_copy, kept_warning, make_note, what_changed
from blissmask.tasks.run.plan import Action, PlannedItem
from tests.builders.pictures import half_mask, save


def test_a_file_that_changes_while_it_is_hashed_is_not_taken_for_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(b"first")

    def hash_then_change(path: Path) -> str:
        path.write_bytes(b"other")
        os.utime(path, (2, 2))
        return "hash of the first"

    monkeypatch.setattr(output_notes, "content_hash", hash_then_change)
    note = Note(make_note("masks", [photo], {}), untouched=True)
    monkeypatch.undo()
    assert what_changed(note, [photo], {}) == "a.png changed"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_with_the_name_of_the_output_fails_the_item(tmp_path: Path, *, force: bool) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(InputError, match="a folder stands where the file would go") as caught:
        output_notes.decide(tmp_path / "a.png", "masks", (), {}, force=force)
    assert caught.value.problems[0].where == (str(tmp_path / "a.png"),)


def retouch(mask: Path) -> bytes:
    """Save a mask as an editor does, which drops the note."""
    save(mask, half_mask())
    return mask.read_bytes()


def test_force_keeps_a_copy_of_a_mask_that_was_edited_and_names_it(tmp_path: Path) -> None:
    mask = tmp_path / "a.png"
    edited = retouch(mask)
    action, reason = decide(mask, "masks", (), {}, force=True)
    assert action is Action.WRITE
    assert "`a.png.bak`" in reason
    [warning] = kept_warning([PlannedItem("a", action, reason, (), mask)])
    assert "a.png.bak" in warning.where[0]
    keep_copy(mask)
    assert (tmp_path / "a.png.bak").read_bytes() == edited


def test_an_earlier_copy_is_not_overwritten(tmp_path: Path) -> None:
    mask = tmp_path / "a.png"
    (tmp_path / "a.png.bak").write_bytes(b"earlier")
    edited = retouch(mask)
    keep_copy(mask)
    keep_copy(mask)
    assert (tmp_path / "a.png.bak").read_bytes() == b"earlier"
    assert (tmp_path / "a.png.bak2").read_bytes() == edited
    assert not (tmp_path / "a.png.bak3").exists()


def test_force_keeps_no_copy_of_what_it_wrote_itself(tmp_path: Path) -> None:
    mask = tmp_path / "a.png"
    write_png_grey(mask, np.zeros((2, 2), dtype=np.uint8), note={"command": "masks"})
    assert decide(mask, "masks", (), {}, force=True) == (Action.WRITE, "redone")
    keep_copy(mask)
    assert list(tmp_path.iterdir()) == [mask]
