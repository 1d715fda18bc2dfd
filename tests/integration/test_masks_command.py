"""`masks`: photos and videos become weighted masks, with any backend; here one that reads the labels off the colours."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from blissmask.config.model import Config
from blissmask.errors import InputError, UsageError
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.media.image import read_grey
from blissmask.media.png import read_note
from blissmask.parsing.protocol import Parsed
from blissmask.tasks.freshness import FRESH, Kept
from blissmask.tasks.masks import make_masks
from blissmask.tasks.masks.make_masks import plan, run
from blissmask.tasks.plan import Action, RunContext, Summary
from tests.builders import Listener, save, tree, turned, write_video

CLASSES = ("nothing", "face-skin", "hair", "clothes")


class ColourBackend:
    """Takes the red value of a pixel for its class number; counts its calls."""

    classes = CLASSES
    tiers: Mapping[str, WeightTier] = dict(
        zip(CLASSES, (WeightTier.BACKGROUND, WeightTier.FACE, WeightTier.HAIR, WeightTier.BODY), strict=True)
    )
    licence = Licence("CC-BY-NC-4.0", commercial=False)
    identity = "colours-1"
    thread_safe = False

    def __init__(self) -> None:
        self.calls, self.at_once, self.most_at_once = 0, 0, 0
        self.guard = threading.Lock()
        self.meeting: threading.Barrier | None = None

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        with self.guard:
            self.calls += len(rgbs_HW3)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.meeting is not None:
            self.meeting.wait()
        labels = [np.where(rgb[..., 0] < 4, rgb[..., 0], 0).astype(np.uint8) for rgb in rgbs_HW3]
        found = [Parsed(label, people=int(label.any()), faces=int((label == 1).any())) for label in labels]
        with self.guard:
            self.at_once -= 1
        return found


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ColourBackend:
    made = ColourBackend()
    registry = SimpleNamespace(load=lambda name: SimpleNamespace(backend=lambda options: made))
    monkeypatch.setattr(make_masks, "PARSING", registry)
    return made


def person(size_wh: tuple[int, int] = (40, 30), *, face: bool = True) -> NDArray[np.uint8]:
    """Return a photo for the backend: hair above face above clothes in the left half."""
    width, height = size_wh
    rgb = np.full((height, width, 3), (200, 90, 30), dtype=np.uint8)
    rgb[:, : width // 2] = (3, 90, 30)
    if face:
        rgb[: height // 3, : width // 2] = (2, 90, 30)
        rgb[height // 3 : height // 2, : width // 2] = (1, 90, 30)
    return rgb


def expected(size_wh: tuple[int, int] = (40, 30)) -> NDArray[np.uint8]:
    return np.array([0, 255, 80, 128], dtype=np.uint8)[np.where(person(size_wh)[..., 0] < 4, person(size_wh)[..., 0], 0)]


def config(folder: Path, *, force: bool = False, **options: object) -> Config:
    return Config.model_validate({"masks": {"input": folder / "photos", "output": folder / "masks", **options}, "run": {"force": force}})


def make(folder: Path, *, jobs: int = 2, force: bool = False, **options: object) -> Summary:
    return run(plan(config(folder, force=force, **options)), RunContext(jobs=jobs))


def lines(folder: Path, **options: object) -> dict[str, tuple[Action, str]]:
    return {item.key: (item.action, item.reason) for item in plan(config(folder, **options)).items}


@pytest.fixture
def folder(tmp_path: Path, backend: ColourBackend) -> Path:
    for name in ("a.png", "b.webp"):
        save(tmp_path / "photos" / name, person(), **({"lossless": True} if name.endswith("webp") else {}))
    return tmp_path


def test_every_class_becomes_the_value_of_its_tier(folder: Path) -> None:
    assert make(folder).written == 2
    assert (read_grey(folder / "masks" / "b.png") == expected()).all()


def test_values_of_tiers_can_be_chosen(folder: Path) -> None:
    make(folder, face=200, body=100, hair=50, background=10)
    assert set(np.unique(read_grey(folder / "masks" / "a.png"))) == {200, 100, 50, 10}


def test_a_class_can_be_given_another_tier(folder: Path) -> None:
    make(folder, map=["hair=background", "clothes = face"])
    assert set(np.unique(read_grey(folder / "masks" / "a.png"))) == {255, 0}


def test_unknown_classes_and_tiers_are_all_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        plan(config(folder, map=["cloths=body", "hair=boddy", "hair"]))
    fixes = [problem.fix for problem in caught.value.problems]
    assert len(fixes) == 3
    assert "did you mean `clothes`?" in fixes[0]
    assert "did you mean `body`?" in fixes[1]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_mask_has_the_size_of_the_upright_photo(folder: Path, orientation: int) -> None:
    save(folder / "photos" / "a.png", turned(person(), orientation), orientation=orientation)
    make(folder)
    assert (read_grey(folder / "masks" / "a.png") == expected()).all()


def test_growing_moves_the_outline_and_invents_no_value(folder: Path) -> None:
    make(folder, grow=4)
    grown = read_grey(folder / "masks" / "a.png")
    assert (grown[:, 20:24] > 0).all()
    assert not grown[:, 24:].any()
    assert set(np.unique(grown)) == {0, 80, 128, 255}


def test_feathering_makes_values_between_the_tiers(folder: Path) -> None:
    make(folder, feather=6)
    assert len(np.unique(read_grey(folder / "masks" / "a.png"))) > 8


def test_specks_below_the_least_area_are_dropped(folder: Path) -> None:
    rgb = person()
    rgb[5, 35] = (3, 0, 0)
    save(folder / "photos" / "a.png", rgb)
    make(folder, min_area=0.01)
    assert (read_grey(folder / "masks" / "a.png") == expected()).all()


def test_backend_that_is_not_thread_safe_is_asked_by_one_thread_at_a_time(folder: Path, backend: ColourBackend) -> None:
    for number in range(12):
        save(folder / "photos" / f"{number}.png", person())
    make(folder, jobs=4)
    assert (backend.calls, backend.most_at_once) == (14, 1)


def test_thread_safe_backend_is_asked_by_several_threads_at_once(folder: Path, backend: ColourBackend) -> None:
    backend.thread_safe = True
    backend.meeting = threading.Barrier(2, timeout=10)
    assert make(folder, jobs=2).written == 2
    assert backend.most_at_once == 2


def test_second_run_asks_the_backend_nothing_and_tells_the_same(folder: Path, backend: ColourBackend) -> None:
    first = make(folder)
    before = tree(folder)
    assert set(lines(folder).values()) == {(Action.SKIP, FRESH)}
    second = make(folder)
    assert (backend.calls, second.written, second.skipped) == (2, 0, 2)
    assert second.tables == first.tables
    assert tree(folder) == before


def test_another_tier_value_redoes_all_and_says_so(folder: Path) -> None:
    make(folder)
    assert lines(folder, hair=90)["a"] == (Action.WRITE, "40x30, tiers changed")


def test_another_version_of_the_backend_redoes_all(folder: Path, backend: ColourBackend) -> None:
    make(folder)
    backend.identity = "colours-2"
    assert lines(folder)["a"] == (Action.WRITE, "40x30, backend changed")


def test_mask_that_was_there_before_is_kept(folder: Path) -> None:
    save(folder / "masks" / "a.png", expected())
    assert lines(folder)["a"] == (Action.SKIP, Kept.FOREIGN)


def test_truncated_photo_costs_one_item(folder: Path) -> None:
    path = folder / "photos" / "a.png"
    path.write_bytes(path.read_bytes()[:80])
    summary = make(folder)
    assert (summary.written, [failure.key for failure in summary.failures], summary.exit_code) == (1, ["a"], 3)


def test_photos_without_person_or_face_are_named(folder: Path) -> None:
    save(folder / "photos" / "empty.png", np.full((30, 40, 3), 200, dtype=np.uint8))
    save(folder / "photos" / "back.png", person(face=False))
    summary = make(folder)
    assert summary.details["without_person"] == ["empty"]
    assert summary.details["without_face"] == ["back", "empty"]
    assert summary.details["empty_masks"] == ["empty"]
    assert [problem.where for problem in summary.warnings] == [("empty",), ("empty",), ("back",)]


def test_mean_share_of_each_tier_is_told(folder: Path) -> None:
    summary = make(folder)
    assert summary.details["mean_coverage"] == {"face": 0.08333, "body": 0.25, "hair": 0.16667, "background": 0.5}
    assert ("face", "255", "1.000", "8.3%") in summary.tables[0].rows


def test_explaining_lists_classes_and_licence_and_needs_no_folders(backend: ColourBackend) -> None:
    made = plan(Config.model_validate({"masks": {"explain": True, "map": ["hair=body"]}}))
    assert made.items == []
    assert ("hair", "body", "128", "0.502") in made.tables[0].rows
    assert made.tables[1].rows == (("--backend embedded", "CC-BY-NC-4.0, no commercial use"),)
    assert run(made, RunContext()).tables == made.tables


def test_weights_not_for_commercial_use_are_refused_when_asked_to(folder: Path) -> None:
    with pytest.raises(UsageError, match="may not be used commercially"):
        plan(config(folder, commercial_only=True))


LEDGER = [{"weights": "--backend embedded", "identity": "colours-1", "licence": "CC-BY-NC-4.0", "commercial": False, "note": ""}]


def test_licence_of_the_weights_is_said_once_and_recorded_with_every_mask(folder: Path) -> None:
    write_video(folder / "photos" / "clip.avi", [person(), person()])
    said = Listener()
    summary = run(plan(config(folder)), RunContext(said))
    assert said.texts == ["--backend embedded: colours-1", "licence of these weights: CC-BY-NC-4.0, no commercial use"]
    assert summary.to_json()["licences"] == LEDGER
    for path in (folder / "masks" / "a.png", folder / "masks" / "clip" / "000001.png"):
        note = read_note(path)
        assert note is not None
        assert note.content["licences"] == LEDGER
    assert json.loads((folder / "masks" / "clip" / ".blissmask.json").read_text())["licences"] == LEDGER


def test_another_licence_of_the_same_weights_redoes_nothing(folder: Path, backend: ColourBackend) -> None:
    make(folder)
    backend.licence = Licence("Apache-2.0", commercial=True)
    assert {item.reason for item in plan(config(folder)).items} == {FRESH}


def test_without_folders_every_dataset_is_done(folder: Path) -> None:
    save(folder / "more" / "a.png", person((20, 20)))
    data = {
        "datasets": [
            {"image_directory": str(folder / "photos"), "mask_directory": str(folder / "m1")},
            {"image_directory": str(folder / "more"), "mask_directory": str(folder / "m2")},
            {"image_directory": str(folder / "photos"), "mask_directory": str(folder / "m1"), "resolution": 512},
        ]
    }
    made = plan(Config.model_validate(data))
    assert [item.key for item in made.items] == ["photos/a", "photos/b", "more/a"]
    assert run(made, RunContext()).written == 3
    assert (folder / "m2" / "a.png").exists()


def test_dataset_without_a_folder_for_masks_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="dataset 1 has no `mask_directory`"):
        plan(Config.model_validate({"datasets": [{"image_directory": str(folder / "photos")}]}))


def test_two_datasets_cannot_share_a_folder_of_masks(folder: Path) -> None:
    shared = {"mask_directory": str(folder / "m")}
    data = {"datasets": [{"image_directory": str(folder / "photos"), **shared}, {"image_directory": str(folder / "more"), **shared}]}
    with pytest.raises(UsageError, match="share one folder of masks"):
        plan(Config.model_validate(data))


def test_masks_are_never_written_among_the_photos(folder: Path) -> None:
    before = tree(folder)
    with pytest.raises(UsageError, match="the output folder is the folder of photos"):
        plan(config(folder, output=folder / "photos"))
    assert tree(folder) == before


def test_photos_of_one_name_are_refused(folder: Path) -> None:
    save(folder / "photos" / "a.jpg", person())
    with pytest.raises(InputError, match="share one mask"):
        plan(config(folder))


def clip(folder: Path, count: int = 5) -> Path:
    """Write a clip in which the person stands farther left in every frame."""
    frames = [np.roll(person((48, 32)), -2 * number, axis=1) for number in range(count)]
    return write_video(folder / "photos" / "clip.avi", frames)


def test_video_becomes_a_folder_of_one_mask_per_frame(folder: Path) -> None:
    clip(folder)
    make(folder)
    names = sorted(path.name for path in (folder / "masks" / "clip").glob("*.png"))
    assert names == [f"{number:06}.png" for number in range(5)]
    assert (read_grey(folder / "masks" / "clip" / "000003.png") == np.roll(expected((48, 32)), -6, axis=1)).all()


def test_static_mask_of_a_video_is_the_maximum_over_its_frames(folder: Path) -> None:
    clip(folder)
    make(folder, video_masks="static")
    frames = [np.roll(expected((48, 32)), -2 * number, axis=1) for number in range(5)]
    assert (read_grey(folder / "masks" / "clip.png") == np.maximum.reduce(frames)).all()


def test_frames_between_those_looked_at_repeat_the_mask(folder: Path, backend: ColourBackend) -> None:
    clip(folder)
    make(folder, video_every=2)
    masks = [read_grey(folder / "masks" / "clip" / f"{number:06}.png") for number in range(5)]
    assert backend.calls == 2 + 3
    assert (masks[0] == masks[1]).all()
    assert not (masks[1] == masks[2]).all()


def test_unfinished_clip_is_continued_with_the_frames_that_are_missing(folder: Path, backend: ColourBackend) -> None:
    clip(folder)
    make(folder)
    whole, calls = tree(folder / "masks"), backend.calls
    for name in (".blissmask.json", "000003.png", "000004.png"):
        (folder / "masks" / "clip" / name).unlink()
    assert lines(folder)["clip"] == (Action.WRITE, "48x32, 5 frames, unfinished")
    make(folder)
    assert backend.calls == calls + 2
    assert tree(folder / "masks") == whole


def test_finished_clip_is_skipped_also_when_its_time_moved(folder: Path) -> None:
    path = clip(folder)
    make(folder)
    os.utime(path, (1, 1))
    assert lines(folder)["clip"] == (Action.SKIP, FRESH)


def test_shorter_version_of_a_clip_leaves_no_old_frames_behind(folder: Path) -> None:
    clip(folder, 5)
    make(folder)
    clip(folder, 3)
    make(folder)
    assert len(list((folder / "masks" / "clip").glob("*.png"))) == 3
    assert json.loads((folder / "masks" / "clip" / ".blissmask.json").read_text())["frame_count"] == 3


def test_edited_frame_survives_although_the_clip_changed(folder: Path) -> None:
    clip(folder, 4)
    make(folder)
    edited = folder / "masks" / "clip" / "000001.png"
    save(edited, np.full((32, 48), 7, dtype=np.uint8))
    clip(folder, 5)
    make(folder)
    assert (read_grey(edited) == 7).all()
    assert len(list((folder / "masks" / "clip").glob("*.png"))) == 5


def test_folder_of_someone_elses_frames_is_kept(folder: Path) -> None:
    clip(folder)
    save(folder / "masks" / "clip" / "000000.png", expected((48, 32)))
    assert lines(folder)["clip"] == (Action.SKIP, Kept.FOREIGN)


@pytest.mark.parametrize("value", [0, 255])
def test_mask_made_by_hand_counts_in_the_summary_and_stands_on_the_sheet(folder: Path, value: int) -> None:
    save(folder / "masks" / "a.png", np.full((30, 40), value, dtype=np.uint8))
    summary = make(folder, sheet=folder / "sheet.html")
    assert summary.details["items"] == 2
    assert summary.details["empty_masks"] == ([] if value else ["a"])
    assert "a.png" in (folder / "sheet.html").read_text()


def test_sheet_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in .png or .html"):
        plan(config(folder, sheet="sheet.pdf"))


@pytest.mark.parametrize("place", ["photos", "masks"])
def test_sheet_among_photos_or_masks_is_refused(folder: Path, place: str) -> None:
    with pytest.raises(UsageError, match="taken for a photo or a mask"):
        plan(config(folder, sheet=folder / place / "sheet.png"))


@pytest.mark.parametrize("name", ["mine.png", "mine.html"])
def test_sheet_never_replaces_another_file(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match="not a contact sheet"):
        plan(config(folder, sheet=folder / name))


@pytest.mark.parametrize("name", ["sheet.png", "sheet.html"])
def test_sheet_replaces_an_earlier_sheet(folder: Path, name: str) -> None:
    for _ in range(2):
        make(folder, sheet=folder / name)
    assert (folder / name).stat().st_size > 1000


def test_sheet_is_written_with_fresh_items_too(folder: Path) -> None:
    clip(folder)
    make(folder)
    make(folder, sheet=folder / "sheet.html")
    page = (folder / "sheet.html").read_text()
    assert page.count("class='card") == 3
    assert "clip.avi" in page
