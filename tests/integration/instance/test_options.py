"""Options of `instance`: who must never be taken for the subject, and how many frames of a clip are looked at."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from blissmask.media.mask_picture import read_grey
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action
from tests.builders.instance import STRANGER, SUBJECT, ColourFaces, ColourPeople, find, lines, scene, use_people
from tests.builders.pictures import save, write_video


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> ColourPeople:
    identities = SimpleNamespace(load=lambda name: SimpleNamespace(face_reader=lambda options: ColourFaces()))
    monkeypatch.setattr("blissmask.tasks.instance.plan.IDENTITIES", identities)
    return use_people(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, people: ColourPeople) -> Path:
    """A photo of the subject beside a stranger, the subject's reference, and a photo of each of them to name as a negative."""
    save(tmp_path / "reference.png", scene(SUBJECT))
    save(tmp_path / "photos" / "group.png", scene(STRANGER, SUBJECT))
    save(tmp_path / "others" / "subject.png", scene(SUBJECT))
    save(tmp_path / "others" / "stranger.png", scene(STRANGER))
    return tmp_path


@pytest.mark.parametrize(("negatives", "found"), [([], 1), (["stranger.png"], 1), (["subject.png"], 0)])
def test_nobody_of_the_negatives_is_taken_for_the_subject(folder: Path, negatives: list[str], found: int) -> None:
    summary = find(folder, negatives=[folder / "others" / name for name in negatives])
    assert summary.details["verdicts"] == {"found": found, "uncertain": 0, "not in this photo": 1 - found, "no face": 0}


def test_a_folder_of_negatives_is_everybody_in_it(folder: Path) -> None:
    find(folder, negatives=[folder / "others"])
    assert not read_grey(folder / "out" / "group.png").any()


def test_negatives_that_are_added_redo_all_and_say_so(folder: Path) -> None:
    find(folder)
    assert lines(folder, negatives=[folder / "others"])["group"] == (Action.WRITE, "60x24, negatives changed")


def test_negatives_that_changed_redo_all_and_say_so(folder: Path) -> None:
    negative = folder / "others" / "stranger.png"
    find(folder, negatives=[negative])
    assert lines(folder, negatives=[negative])["group"] == (Action.SKIP, FRESH)
    save(negative, scene(SUBJECT))
    assert lines(folder, negatives=[negative])["group"] == (Action.WRITE, "60x24, negatives changed")


@pytest.fixture
def clip(folder: Path) -> Path:
    """Five frames in which the subject walks to the right."""
    (folder / "photos" / "group.png").unlink()
    write_video(folder / "photos" / "clip.avi", [scene(SUBJECT, offset=4 * number) for number in range(5)])
    return folder


@pytest.mark.parametrize(("every", "looked_at"), [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_the_backend_sees_every_so_many_frames(clip: Path, people: ColourPeople, every: int, looked_at: int) -> None:
    find(clip, video_every=every)
    assert people.calls == looked_at


def test_frames_between_those_looked_at_repeat_the_mask(clip: Path) -> None:
    find(clip, video_every=2)
    masks = [read_grey(clip / "out" / "clip" / f"{number:06}.png") for number in range(5)]
    assert [number for number in range(1, 5) if (masks[number] != masks[number - 1]).any()] == [2, 4]


def test_another_number_of_frames_redoes_clips_and_says_so(clip: Path) -> None:
    find(clip, video_every=2)
    assert lines(clip, video_every=3)["clip"] == (Action.WRITE, "60x24, 5 frames, video_every changed")
