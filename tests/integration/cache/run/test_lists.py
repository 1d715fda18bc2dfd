"""Data sets listed in a file, as musubi-tuner reads them."""

import json
from pathlib import Path

import pytest

from blissmask.dataset.item import MaskSource, MediaKind
from blissmask.dataset.jsonl import read_jsonl
from blissmask.errors import InputError
from tests.builders.cache import FRAMES, PHOTO_WH, build, entries, frame_names, moving_frames, plan
from tests.builders.pictures import photo_folder, save, tier_mask


@pytest.fixture
def photos(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    return tmp_path


def listed(folder, *lines, **json_options):
    path = folder / "list.jsonl"
    path.write_text("\n".join(json.dumps(line, **json_options) for line in lines), encoding="utf-8")
    return path


def photo(folder, stem, **more):
    return {"image_path": str(folder / "photos" / f"{stem}.png"), "caption": f"photo {stem}", **more}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\u001c", "\u000b", "\u000c"])
def test_a_caption_may_hold_any_separator_but_a_line_break(photos, separator):
    path = listed(photos, {**photo(photos, "a"), "caption": "one two"}, photo(photos, "b"))
    shown = separator if separator > "\u001f" else f"\\u{ord(separator):04x}"  # JSON escapes control characters
    path.write_text(path.read_text(encoding="utf-8").replace("one two", f"one{shown}two"), encoding="utf-8")
    [first, second] = plan(photos, image_jsonl_file=path).texts
    assert (first.caption, second.caption) == (f"one{separator}two", "photo b")


def test_lines_may_end_as_on_windows(photos):
    path = listed(photos, photo(photos, "a"), photo(photos, "b"))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(plan(photos, image_jsonl_file=path).texts) == 2


def test_keys_that_are_not_used_are_told_and_left_alone(photos):
    lines = [photo(photos, "a", width=96, tags=["x"]), photo(photos, "b", width=96)]
    [warning] = plan(photos, image_jsonl_file=listed(photos, *lines)).warnings
    assert warning.what == "2 keys of list.jsonl are not used"
    assert warning.where == ("`width`, 2 lines", "`tags`, line 1")


def test_a_misspelt_key_is_told_with_the_one_it_may_be_meant_for(photos):
    lines = [photo(photos, "a", mask_pth="mask.png"), photo(photos, "b")]
    [warning] = plan(photos, image_jsonl_file=listed(photos, *lines)).warnings
    assert warning.where == ("`mask_pth`, line 1: did you mean `mask_path`?",)


def test_a_key_that_is_missing_is_told_with_the_one_that_may_be_meant(photos):
    with pytest.raises(InputError) as caught:
        plan(photos, image_jsonl_file=listed(photos, {"image_pth": "a.png", "caption": ""}))
    assert caught.value.problems[0].where == (
        f"{photos / 'list.jsonl'}:1: `image_path` is missing, is it meant by `image_pth`?",
    )


def shots(folder, *names):
    """Write folders of frames and return the list of them."""
    for name in names:
        for frame, rgb_HW3 in zip(frame_names(FRAMES), moving_frames(), strict=True):
            save(folder / "frames" / name / frame, rgb_HW3)
    lines = [{"video_path": str(folder / "frames" / name), "caption": name} for name in names]
    return {"video_jsonl_file": listed(folder, *lines), "target_frames": [5]}


def test_folders_of_frames_differ_behind_the_dot_in_their_names(tmp_path):
    build(tmp_path, **shots(tmp_path, "shot.001", "shot.002"))
    assert sorted(entries(tmp_path)) == ["shot.001", "shot.002"]


@pytest.mark.parametrize("mask", ["shot.001.png", *(f"shot.001/{name}" for name in frame_names(1))])
def test_a_folder_of_frames_finds_its_mask_behind_the_dot(tmp_path, mask):
    settings = shots(tmp_path, "shot.001")
    if "/" in mask:
        for name in frame_names(FRAMES):
            save(tmp_path / "masks" / "shot.001" / name, tier_mask((64, 48)))
    else:
        save(tmp_path / "masks" / mask, tier_mask((64, 48)))
    [entry] = plan(tmp_path, **settings, mask_directory=tmp_path / "masks").entries
    assert entry.mask_source is MaskSource.FILE


def test_relative_paths_start_at_the_working_folder_and_then_beside_the_list(photos, monkeypatch):
    save(photos / "masks" / "a.png", tier_mask(PHOTO_WH))
    line = {"image_path": "photos/a.png", "caption": "a", "mask_path": "masks/a.png", "control_path": "photos/b.png"}
    path = listed(photos, line)
    elsewhere = photos / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (item,), _ = read_jsonl(path, MediaKind.IMAGE)
    assert item.media.path == photos / "photos" / "a.png"
    assert item.mask_path == photos / "masks" / "a.png"
    assert item.control_paths == (photos / "photos" / "b.png",)
    save(elsewhere / "photos" / "a.png", tier_mask(PHOTO_WH))
    (here,), _ = read_jsonl(path, MediaKind.IMAGE)
    assert here.media.path == Path("photos/a.png")
    assert here.mask_path == photos / "masks" / "a.png"
