"""Every family of the registry caches the same photo and clip, and what it writes fits together."""

import pytest
import torch

from blissmask.archs.registry import ARCHS, load_architecture
from blissmask.cachefile.read import list_headers, load_entry
from blissmask.errors import UsageError
from tests.builders import photo_folder, random_rgb, save, tier_mask, write_video
from tests.cache_builders import build, captions, plan

FAMILIES = ARCHS.names()
SIZE_WH = (128, 64)


@pytest.fixture(params=FAMILIES)
def family(request):
    return load_architecture(request.param)


@pytest.fixture
def photo(tmp_path, family):
    """Cache one photo with a mask, and the fewest control pictures the family takes; return its header."""
    photo_folder(tmp_path / "photos", ["a.png"], size_wh=SIZE_WH)
    save(tmp_path / "masks" / "a.png", tier_mask(SIZE_WH))
    captions(tmp_path, ["a"])
    settings = {"mask_directory": tmp_path / "masks", "resolution": list(SIZE_WH), "arch": family.name}
    if family.control_range[0]:
        save(tmp_path / "controls" / "a.png", random_rgb(SIZE_WH))
        settings["control_directory"] = tmp_path / "controls"
    summary = build(tmp_path, **settings)
    assert summary.failures == []
    [header] = list_headers(tmp_path / "cache", family.cache_suffix)
    return header


def test_latents_have_the_geometry_of_the_family(photo, family):
    stride = family.latent.spatial_stride
    assert photo.latent_shape == (family.latent.channels, 1, SIZE_WH[1] // stride, SIZE_WH[0] // stride)


def test_mask_weights_lie_on_the_latent_grid_and_keep_their_mean(photo):
    entry = load_entry(photo)
    assert entry.weights_1fhw.shape == (1, *photo.latent_shape[1:])
    assert entry.weights_1fhw.double().mean().item() == pytest.approx(tier_mask(SIZE_WH).mean() / 255, abs=1e-6)


def test_region_shares_lie_on_the_latent_grid(photo):
    assert load_entry(photo).regions_4fhw.shape == (4, *photo.latent_shape[1:])


def test_text_and_latents_are_finite_and_come_together(photo):
    entry = load_entry(photo)
    assert entry.conditioning
    assert all(torch.isfinite(tensor.float()).all() for tensor in [entry.latents_Cfhw, *entry.conditioning.values()])


def test_the_cache_remembers_the_family(photo, family):
    assert (photo.metadata["blissmask.arch"], photo.metadata["architecture"]) == (family.name, family.metadata_name)


@pytest.mark.parametrize("name", [name for name in FAMILIES if load_architecture(name).tasks[0].endswith("v")])
def test_a_marked_frame_lands_in_its_latent_frame(tmp_path, name):
    family = load_architecture(name)
    stride = family.latent.temporal_stride
    count = 2 * stride + 1
    write_video(tmp_path / "videos" / "clip.avi", [random_rgb(SIZE_WH, seed=number) for number in range(count)])
    (tmp_path / "videos" / "clip.txt").write_text("a clip", encoding="utf-8")
    for number in range(count):
        white = number == stride + 1
        save(tmp_path / "masks" / "clip" / f"{number:06}.png", tier_mask(SIZE_WH) * 0 + (255 if white else 0))
    build(
        tmp_path,
        arch=name,
        video_directory=tmp_path / "videos",
        mask_directory=tmp_path / "masks",
        resolution=list(SIZE_WH),
        target_frames=[count],
    )
    [header] = list_headers(tmp_path / "cache", family.cache_suffix)
    weights = load_entry(header).weights_1fhw.mean(dim=(0, 2, 3))
    assert weights.tolist() == [0.0, 0.0, 1 / stride]


def test_videos_are_refused_where_the_family_makes_pictures(tmp_path):
    write_video(tmp_path / "videos" / "clip.avi", [random_rgb(SIZE_WH)])
    with pytest.raises(UsageError, match="`qwen-image` learns from pictures, not from videos"):
        plan(tmp_path, arch="qwen-image", video_directory=tmp_path / "videos")
