"""Our folders under the rules by which musubi-tuner, blissful-tuner and the mask fork read theirs (interop notes, 2.1 and 2.3).

Their loaders were run on our folders once, at the commits that the README names; these rules, in our own words, keep it so.
"""

import pytest
import torch

from blissmask.cachefile.read_file import read_tensors
from blissmask.cachefile.tensor_keys import FrameAxis
from tests.builders.cache import build, captions, on_videos, video_folder
from tests.builders.families import CACHE_SUFFIX, NAMES, family_of
from tests.builders.pictures import mask_folder, photo_folder, random_rgb, save

SIZE_WH = (128, 64)
DTYPES = {str(value).removeprefix("torch.") for value in vars(torch).values() if isinstance(value, torch.dtype)}


def latent_files(folder, suffix):
    """Return latent file -> text file, found by splitting names at underscores from the right."""
    found = {}
    for path in sorted((folder / "cache").glob(f"*_{suffix}.safetensors")):
        *stem, last, size, _ = path.name.split("_")
        window = last.split("-")
        is_clip = len(window) == 2 and all(part.isdecimal() for part in window)
        stem = "_".join(stem if is_clip else [*stem, last])
        found[path] = path.with_name(f"{stem}_{suffix}_te.safetensors")
        assert [part.isdecimal() for part in size.split("x")] == [True, True]
    return found


def batch_of(pairs, *, knows_masks):
    """Return the tensors of several items as their trainers get them: stacked, or in lists where lengths differ."""
    batch, lists = {}, set()
    for latents, text in pairs:
        for key, tensor in {**read_tensors(latents), **read_tensors(text)}.items():
            name = key.removeprefix("varlen_")
            if not name.endswith("_mask"):
                parts = name.split("_")
                cut = next(start for start in range(1, len(parts)) if "_".join(parts[start:]) in DTYPES)
                name = "_".join(parts[:cut])
                if name.startswith("latents_"):
                    name = name.rpartition("_")[0]
                elif knows_masks and name.startswith("mask_weights_"):
                    name = "mask_weights"
            batch.setdefault(name, []).append(tensor)
            if key.startswith("varlen_"):
                lists.add(name)
    return {name: tensors if name in lists else torch.stack(tensors) for name, tensors in batch.items()}


@pytest.mark.parametrize("name", NAMES)
def test_photos_with_and_without_masks_make_a_batch(tmp_path, name):
    family = family_of(name)
    photo_folder(tmp_path / "photos", ["my_a_1.png", "b.png"], size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks", ["b.png"], size_wh=SIZE_WH)
    captions(tmp_path, ["my_a_1", "b"])
    settings = {"mask_directory": tmp_path / "masks", "resolution": list(SIZE_WH), "arch": name}
    if family.task.control_range[0]:
        for stem in ("my_a_1", "b"):
            save(tmp_path / "controls" / f"{stem}.png", random_rgb(SIZE_WH))
        settings["control_directory"] = tmp_path / "controls"
    build(tmp_path, **settings)
    pairs = latent_files(tmp_path, family.cache_suffix)
    height, width = (side // family.latent.spatial_stride for side in SIZE_WH[::-1])
    frames = (1,) if family.latent.frame_axis is FrameAxis.KEPT else ()
    for knows_masks, key in ((False, f"mask_weights_1x{height}x{width}"), (True, "mask_weights")):
        batch = batch_of(pairs.items(), knows_masks=knows_masks)
        assert batch["latents"].shape == (2, family.latent.channels, *frames, height, width)
        assert batch[key].shape == (2, 1, 1, height, width)
        assert batch[key].mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx([0.29, 1.0], abs=0.02)
        alone = [name for name, value in batch.items() if len(value) != 2]
        assert all(name.startswith(("mask_regions", "mask_sub")) for name in alone), alone


def test_clips_of_one_length_make_a_batch(tmp_path):
    video_folder(tmp_path, "a_1", "b")
    build(tmp_path, **on_videos(tmp_path, frame_extraction="chunk"))
    pairs = latent_files(tmp_path, CACHE_SUFFIX)
    assert len(pairs) == 4
    assert all(text.exists() for text in pairs.values())
    assert batch_of(pairs.items(), knows_masks=False)["latents"].shape == (4, 16, 2, 6, 8)


def test_photos_of_several_subjects_make_a_batch(tmp_path):
    """Also where one was not found, or has no mask file: each has planes for all."""
    photo_folder(tmp_path / "photos", ["a.png", "b.png", "c.png"], size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks" / "kyla", ["a.png", "b.png"], size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks" / "tom", ["b.png", "c.png"], size_wh=SIZE_WH)
    captions(tmp_path, ["a", "b", "c"])
    build(tmp_path, subject=["kyla", "tom"], mask_directory=tmp_path / "masks", resolution=list(SIZE_WH))
    for knows_masks in (False, True):
        batch = batch_of(latent_files(tmp_path, CACHE_SUFFIX).items(), knows_masks=knows_masks)
        assert [name for name, value in batch.items() if len(value) != 3] == []
        assert batch["mask_subjects_1x8x16"].shape == (3, 8, 1, 8, 16)
