"""tasks/mask_files/output_notes.py: what a note says of its inputs, and what stands in the way of an output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blissmask.errors import InputError
from blissmask.media.png import Note
from blissmask.tasks.mask_files import output_notes
from blissmask.tasks.mask_files.output_notes import make_note, what_changed


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
