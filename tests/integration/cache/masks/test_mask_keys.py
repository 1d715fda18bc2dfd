"""Masks for items that have none of their own, masks the other way round, and the names that another musubi-tuner gives them."""

import json

import numpy as np
import pytest
import torch

from blissmask.cachefile.redo import Redo
from blissmask.config.load import load_config
from blissmask.dataset.item import MaskSource
from blissmask.errors import InputError
from tests.builders.cache import (
    PHOTO_WH,
    ModelCounter,
    build,
    captions,
    entries,
    moving_frames,
    on_videos,
    plan,
    video_folder,
)
from tests.builders.pictures import half_mask, mask_folder, photo_folder, save, tier_mask


@pytest.fixture
def photos(tmp_path):
    """Return a folder with two photos, a mask of the first, and another mask that belongs to none."""
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png"], size_wh=PHOTO_WH)
    save(tmp_path / "default.png", half_mask(PHOTO_WH))
    captions(tmp_path, ["a", "b"])
    return tmp_path


def with_default(folder, **settings):
    return {
        "mask_directory": folder / "masks",
        "default_mask": folder / "default.png",
        "resolution": list(PHOTO_WH),
        **settings,
    }


def test_items_without_a_mask_take_the_default_one(photos):
    build(photos, **with_default(photos))
    found = entries(photos)
    assert found["a"].weights_1fhw.mean() == pytest.approx(tier_mask(PHOTO_WH).mean() / 255, abs=1e-6)
    assert found["b"].weights_1fhw[0, 0, 0].tolist() == [1.0] * 6 + [0.0] * 6


def test_items_with_the_default_mask_are_named(photos):
    [warning] = plan(photos, **with_default(photos)).warnings
    assert warning.what == "1 item without a mask of its own, trained with `default_mask`"
    assert warning.where == (str(photos / "photos" / "b.png"),)


def test_the_default_mask_counts_as_the_mask_that_is_required(photos):
    assert {entry.mask_source for entry in plan(photos, **with_default(photos, require_mask=True)).entries} == {
        MaskSource.FILE
    }


def test_a_default_mask_that_is_missing_is_refused(photos):
    with pytest.raises(InputError, match="`default_mask` does not exist"):
        plan(photos, **with_default(photos, default_mask=photos / "gone.png"))


def test_inverted_masks_learn_what_is_dark(photos):
    build(photos, **with_default(photos, invert_mask=True))
    found = entries(photos)
    assert found["a"].weights_1fhw.mean() == pytest.approx(1 - tier_mask(PHOTO_WH).mean() / 255, abs=1e-6)
    assert found["b"].weights_1fhw[0, 0, 0].tolist() == [0.0] * 6 + [1.0] * 6


def test_region_shares_of_an_inverted_mask_follow_it(photos):
    build(photos, **with_default(photos, invert_mask=True))
    assert entries(photos)["a"].regions_4fhw is None
    assert entries(photos)["b"].regions_4fhw[0, 0, 0].tolist() == [0.0] * 6 + [1.0] * 6


def test_inverted_alpha_learns_what_is_transparent(photos):
    rgba_HW4 = np.dstack([np.zeros((*PHOTO_WH[::-1], 3), np.uint8), half_mask(PHOTO_WH)])
    save(photos / "photos" / "a.png", rgba_HW4)
    build(photos, alpha_mask=True, invert_mask=True, resolution=list(PHOTO_WH))
    assert entries(photos)["a"].weights_1fhw[0, 0, 0].tolist() == [0.0] * 6 + [1.0] * 6


def test_items_without_a_mask_keep_full_weight_when_masks_are_inverted(photos):
    build(photos, mask_directory=photos / "masks", invert_mask=True)
    assert (entries(photos)["b"].weights_1fhw == 1).all()


def test_moving_masks_are_inverted_frame_by_frame(tmp_path):
    video_folder(tmp_path, "clip")
    for number, frame_HW3 in enumerate(moving_frames()):
        save(tmp_path / "masks" / "clip" / f"{number:06}.png", frame_HW3[..., 0])
    settings = on_videos(tmp_path, mask_directory=tmp_path / "masks")
    build(tmp_path, **settings)
    plain = entries(tmp_path)["clip"].weights_1fhw
    build(tmp_path, **settings, invert_mask=True)
    torch.testing.assert_close(entries(tmp_path)["clip"].weights_1fhw, 1 - plain)


def test_turning_masks_round_renews_them_without_a_vae(photos, monkeypatch):
    build(photos, **with_default(photos))
    models = ModelCounter(monkeypatch)
    again = plan(photos, **with_default(photos, invert_mask=True))
    assert [(entry.redo, entry.reason) for entry in again.entries] == [(Redo.MASK, "mask inverted changed")] * 2
    build(photos, **with_default(photos, invert_mask=True))
    assert models.loaded == []


def test_the_keys_of_another_musubi_tuner_are_understood(tmp_path):
    table = """
[[datasets]]
image_directory = "photos"
loss_mask_directory = "masks"
default_loss_mask_path = "default.png"
loss_mask_use_alpha = true
loss_mask_invert = true
"""
    (tmp_path / "theirs.toml").write_text(table, encoding="utf-8")
    [dataset] = load_config(tmp_path / "theirs.toml", {}).datasets
    assert (str(dataset.mask_directory), str(dataset.default_mask)) == ("masks", "default.png")
    assert dataset.alpha_mask
    assert dataset.invert_mask


@pytest.mark.parametrize("key", ["mask_path", "loss_mask_path", "video_loss_mask_path"])
def test_a_list_names_masks_by_any_of_their_names(photos, key):
    line = {"image_path": str(photos / "photos" / "b.png"), "caption": "b", key: str(photos / "default.png")}
    (photos / "list.jsonl").write_text(json.dumps(line), encoding="utf-8")
    build(photos, image_jsonl_file=photos / "list.jsonl", resolution=list(PHOTO_WH))
    assert entries(photos)["b"].weights_1fhw.mean() == pytest.approx(0.5)


def test_onetrainers_masks_beside_the_photos_are_masks_and_no_photos(photos):
    save(photos / "photos" / "a-masklabel.png", half_mask(PHOTO_WH))
    save(photos / "photos" / "B-MaskLabel.png", tier_mask(PHOTO_WH))
    save(photos / "photos" / "a-condlabel.png", tier_mask(PHOTO_WH))
    build(photos, mask_directory=photos / "photos", resolution=list(PHOTO_WH), require_mask=True)
    found = entries(photos)
    assert found.keys() == {"a", "b"}
    assert found["a"].weights_1fhw[0, 0, 0].tolist() == [1.0] * 6 + [0.0] * 6
    assert found["b"].weights_1fhw.mean() == pytest.approx(tier_mask(PHOTO_WH).mean() / 255, abs=1e-6)


def test_a_photo_without_onetrainers_mask_does_not_become_its_own(photos):
    save(photos / "photos" / "a-masklabel.png", half_mask(PHOTO_WH))
    sources = {
        entry.item.media.key: entry.mask_source for entry in plan(photos, mask_directory=photos / "photos").entries
    }
    assert sources == {"a": MaskSource.FILE, "b": MaskSource.FULL}


def test_a_stray_onetrainer_mask_leaves_the_other_masks_of_its_folder_alone(photos):
    save(photos / "masks" / "b-masklabel.png", half_mask(PHOTO_WH))
    names = {
        entry.item.media.key: entry.item.mask_path.name
        for entry in plan(photos, mask_directory=photos / "masks").entries
    }
    assert names == {"a": "a.png", "b": "b-masklabel.png"}


def test_a_mask_and_onetrainers_mask_of_one_photo_are_refused_together(photos):
    save(photos / "masks" / "a-masklabel.png", half_mask(PHOTO_WH))
    with pytest.raises(InputError, match="two files would share one item as its masks"):
        plan(photos, mask_directory=photos / "masks")
