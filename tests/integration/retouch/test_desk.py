"""What a page that paints does to masks and captions."""

from __future__ import annotations

import dataclasses
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from blissmask.errors import ChangedError, InputError, MediaError
from blissmask.masks.tiers import TierTable
from blissmask.media.mask_picture import read_grey
from blissmask.media.overlay import tier_labels
from blissmask.media.png import write_png_grey
from blissmask.tasks.retouch.desk import LEFT_OUT, NO_FILE, SIDE, UNTOUCHED, Described, Desk, Kind, RetouchItem
from tests.builders import masks as builder
from tests.builders.pictures import huge_png, random_rgb, save, tree

SIZE_WH = (40, 30)
FACE, HAIR = 1, 2


def kind() -> Kind:
    return Kind(
        (0, 255, 80, 128), lambda grey, size: tier_labels(grey, size, TierTable()), lambda item: Described((), (), 0.0)
    )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a desk with a photo whose mask has a value between tiers, and one without a mask."""
    for name in ("a.png", "b.png"):
        save(tmp_path / "photos" / name, random_rgb(SIZE_WH))
    mask = np.full(SIZE_WH[::-1], 77, np.uint8)
    write_png_grey(tmp_path / "masks" / "a.png", mask, note={"command": "masks", "people": 1})
    (tmp_path / "desk").mkdir()
    items = [
        RetouchItem(name, tmp_path / "photos" / f"{name}.png", tmp_path / "masks" / f"{name}.png", SIZE_WH)
        for name in ("a", "b")
    ]
    return Desk(items, kind(), tmp_path / "desk", training_area=64 * 48)


def deflated(labels: np.ndarray) -> bytes:
    """Return what a browser sends."""
    return zlib.compress(labels.tobytes())


def edits(label: int = HAIR) -> np.ndarray:
    """Return the edits that painted the ten upper rows."""
    labels = np.full(SIZE_WH[::-1], UNTOUCHED, np.uint8)
    labels[:10] = label
    return labels


def paint(desk: Desk, labels: np.ndarray, *, number: int = 0, base: str | None = None) -> str:
    version = desk.pictures(number, side=SIDE).version
    return desk.save_mask(number, deflated(labels), base=base or version, expected=version)


def test_what_was_painted_has_the_tiers_value_and_all_else_stays(desk: Desk) -> None:
    paint(desk, edits())
    grey = read_grey(desk.items[0].mask)
    assert (grey[:10] == 80).all()
    assert (grey[10:] == 77).all()


def test_undoing_everything_gives_back_the_very_file(desk: Desk) -> None:
    before, base = desk.items[0].mask.read_bytes(), desk.pictures(0, side=SIDE).version
    paint(desk, edits())
    assert desk.retouched == [0]
    paint(desk, np.full(SIZE_WH[::-1], UNTOUCHED, np.uint8), base=base)
    assert desk.items[0].mask.read_bytes() == before
    assert desk.retouched == []


def test_undone_strokes_on_no_mask_leave_no_mask(desk: Desk) -> None:
    paint(desk, edits(), number=1)
    assert read_grey(desk.items[1].mask)[0, 0] == 80
    paint(desk, np.full(SIZE_WH[::-1], UNTOUCHED, np.uint8), number=1, base=NO_FILE)
    assert not desk.items[1].mask.exists()


def test_a_later_stroke_starts_from_the_mask_as_it_was_opened(desk: Desk) -> None:
    base = desk.pictures(0, side=SIDE).version
    paint(desk, edits(FACE))
    less = edits(FACE)
    less[5:] = UNTOUCHED
    paint(desk, less, base=base)
    assert (read_grey(desk.items[0].mask)[:10, 0] == [255] * 5 + [77] * 5).all()


def test_one_copy_is_kept_of_what_is_replaced(desk: Desk) -> None:
    before = desk.items[0].mask.read_bytes()
    for label in (FACE, HAIR):
        paint(desk, edits(label))
    assert {name: data == before for name, data in tree(desk.items[0].mask.parent).items()} == {
        "a.png": False,
        "a.png.bak": True,
    }


def test_the_mask_of_another_writer_is_not_replaced(desk: Desk) -> None:
    shown = desk.pictures(0, side=SIDE).version
    desk.save_mask(0, deflated(edits(FACE)), base=shown, expected=shown)
    there = desk.items[0].mask.read_bytes()
    with pytest.raises(ChangedError, match="another page or program"):
        desk.save_mask(0, deflated(edits(HAIR)), base=shown, expected=shown)
    assert desk.items[0].mask.read_bytes() == there


@pytest.mark.parametrize("base", ["0" * 32, "../../a.png", "../photos/a.png\0" + "a" * 16, ""])
def test_a_base_that_was_never_shown_is_refused(desk: Desk, base: str) -> None:
    version = desk.pictures(0, side=SIDE).version
    (desk._folder / "0-.png").write_bytes(desk.items[0].mask.read_bytes())
    with pytest.raises(ChangedError):
        desk.save_mask(0, deflated(edits()), base=base, expected=version)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"0" * 50, id="a picture"),
        pytest.param(deflated(edits())[:-9], id="half of it"),
        pytest.param(deflated(np.zeros((30, 41), np.uint8)), id="too much"),
        pytest.param(deflated(np.zeros((29, 40), np.uint8)), id="too little"),
        pytest.param(deflated(np.full(SIZE_WH[::-1], 9, np.uint8)), id="a label that is none"),
    ],
)
def test_what_is_no_painting_changes_nothing(desk: Desk, sent: bytes) -> None:
    version, before = desk.pictures(0, side=SIDE).version, tree(desk.items[0].mask.parent)
    with pytest.raises(InputError):
        desk.save_mask(0, sent, base=version, expected=version)
    assert tree(desk.items[0].mask.parent) == before


def test_edits_that_would_fill_the_memory_are_not_inflated(desk: Desk) -> None:
    version, bomb = desk.pictures(0, side=SIDE).version, zlib.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(InputError):
        desk.save_mask(0, bomb, base=version, expected=version)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5_000_000


def test_a_large_photo_is_painted_on_in_small(tmp_path: Path) -> None:
    save(tmp_path / "photo.png", np.zeros((20, 2 * SIDE, 3), np.uint8))
    save(tmp_path / "mask.png", np.zeros((20, 2 * SIDE), np.uint8))
    item = RetouchItem("photo", tmp_path / "photo.png", tmp_path / "mask.png", (2 * SIDE, 20))
    (tmp_path / "desk").mkdir()
    desk = Desk([item], kind(), tmp_path / "desk", training_area=64 * 48)
    labels = np.full((10, SIDE), UNTOUCHED, np.uint8)
    labels[:, :100] = FACE
    paint(desk, labels)
    grey = read_grey(item.mask)
    assert grey.shape == (20, 2 * SIDE)
    assert (grey[:, :200] == 255).all()
    assert not grey[:, 200:].any()


def test_captions_are_written_and_the_old_one_is_kept(desk: Desk) -> None:
    caption = desk.items[0].photo.with_suffix(".txt")
    desk.save_caption(0, " a cup \n", expected=None)
    desk.save_caption(0, "a bowl", expected="a cup")
    assert caption.read_text() == "a bowl\n"
    assert caption.with_name("a.txt.bak").read_text() == "a cup\n"
    with pytest.raises(ChangedError):
        desk.save_caption(0, "a jug", expected="a cup")


@pytest.mark.parametrize("text", ["x" * 1_000_001, "half a character \ud800"])
def test_captions_that_cannot_be_read_again_are_refused(desk: Desk, text: str) -> None:
    with pytest.raises(InputError):
        desk.save_caption(0, text, expected=None)
    assert not desk.items[0].photo.with_suffix(".txt").exists()


def test_masks_keeps_what_was_painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder.use_colours(monkeypatch)
    builder.two_photos(tmp_path)
    builder.make(tmp_path)
    item = RetouchItem("a", tmp_path / "photos" / "a.png", tmp_path / "masks" / "a.png", SIZE_WH)
    (tmp_path / "desk").mkdir()
    paint(Desk([item], kind(), tmp_path / "desk", training_area=64 * 48), edits())
    assert builder.lines(tmp_path, grow=1)["a"][1] == "edited since it was written, kept"


def test_what_is_not_painted_on_a_new_mask_is_the_background(desk: Desk) -> None:
    desk.kind = dataclasses.replace(desk.kind, values=(20, *desk.kind.values[1:]))
    paint(desk, edits(), number=1)
    assert (read_grey(desk.items[1].mask)[10:] == 20).all()


def test_a_photo_that_is_left_out_has_weight_0_whatever_the_background_has(desk: Desk) -> None:
    desk.kind = dataclasses.replace(desk.kind, values=(20, *desk.kind.values[1:]))
    paint(desk, np.full(SIZE_WH[::-1], LEFT_OUT, np.uint8))
    assert not read_grey(desk.items[0].mask).any()


def test_pictures_come_with_the_caption_as_it_is_now(desk: Desk) -> None:
    assert desk.pictures(0, side=SIDE).caption is None
    desk.items[0].photo.with_suffix(".txt").write_text("a cup\n")
    assert desk.pictures(0, side=SIDE).caption == "a cup"


def test_what_a_link_leads_to_is_never_written(desk: Desk, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    mask, photo = desk.items[0].mask, desk.items[0].photo
    elsewhere = tmp_path / "elsewhere.png"
    mask.rename(elsewhere)
    mask.symlink_to(elsewhere)
    photo.with_suffix(".txt").symlink_to(secret)
    before = elsewhere.read_bytes()
    paint(desk, edits())
    desk.save_caption(0, "a cup", expected="secret")
    assert (elsewhere.read_bytes(), secret.read_text()) == (before, "secret")
    assert (mask.is_symlink(), photo.with_suffix(".txt").read_text()) == (False, "a cup\n")


@pytest.mark.parametrize("what", ["photo", "mask"])
def test_a_picture_that_became_a_bomb_is_refused(desk: Desk, what: str) -> None:
    desk.pictures(0, side=SIDE)
    path = getattr(desk.items[0], what)
    path.unlink()
    path.write_bytes(huge_png(50_000, 50_000))
    with pytest.raises(InputError, match="pixels"):
        desk.pictures(0, side=SIDE)


def test_a_photo_that_got_another_size_is_not_painted_on(desk: Desk) -> None:
    save(desk.items[0].photo, random_rgb((SIZE_WH[0], SIZE_WH[1] + 5)))
    with pytest.raises(ChangedError, match="another size") as caught:
        desk.pictures(0, side=SIDE)
    assert caught.value.problems[0].where == (str(desk.items[0].photo),)


def test_a_mask_that_is_damaged_is_named_itself_and_no_copy_of_ours(desk: Desk) -> None:
    mask = desk.items[0].mask
    mask.write_bytes(mask.read_bytes()[:50])
    with pytest.raises(MediaError) as caught:
        desk.pictures(0, side=SIDE)
    assert caught.value.problems[0].where == (str(mask),)


def test_a_mask_of_half_a_gigabyte_is_not_read(desk: Desk) -> None:
    mask = desk.items[0].mask
    with mask.open("r+b") as file:
        file.truncate(500_000_000)
    with pytest.raises(InputError, match="larger than the 400 MB") as caught:
        desk.pictures(0, side=SIDE)
    assert caught.value.problems[0].where == (str(mask),)
