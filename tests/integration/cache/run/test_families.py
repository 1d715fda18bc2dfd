"""Every family of the registry caches the same photo and clip, and what it writes fits together."""

import functools

import pytest
import torch

from blissmask.cachefile.file_names import text_name
from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_metadata, read_tensors
from blissmask.cachefile.read_headers import list_headers
from blissmask.cachefile.tensor_keys import FrameAxis
from blissmask.errors import UsageError
from tests.builders.cache import build, captions, plan
from tests.builders.families import CPU, NAMES, TASKS, TINY, family_of
from tests.builders.pictures import photo_folder, random_rgb, save, tier_mask, write_video

SIZE_WH = (128, 64)


@pytest.fixture(params=NAMES)
def family(request):
    return family_of(request.param)


def cache_photo(folder, family):
    """Cache one photo with a mask, and the fewest control pictures the family takes; return its header."""
    photo_folder(folder / "photos", ["a.png"], size_wh=SIZE_WH)
    save(folder / "masks" / "a.png", tier_mask(SIZE_WH))
    captions(folder, ["a"])
    settings = {"mask_directory": folder / "masks", "resolution": list(SIZE_WH), "arch": family.name}
    settings["task"] = family.task_name
    if family.task.control_range[0]:
        save(folder / "controls" / "a.png", random_rgb(SIZE_WH))
        settings["control_directory"] = folder / "controls"
    summary = build(folder, **settings)
    assert summary.failures == []
    [header] = list_headers(folder / "cache", family.cache_suffix)
    return header


@pytest.fixture(scope="module")
def photo_of(tmp_path_factory):
    """Return a function that returns the header of a photo, cached once for all tests that only look at it."""

    @functools.cache
    def cached(name, task):
        return cache_photo(tmp_path_factory.mktemp(name), family_of(name, task))

    return cached


@pytest.fixture
def photo(photo_of, family):
    return photo_of(family.name, family.task_name)


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


@pytest.mark.parametrize("name", [name for name in NAMES if family_of(name).task.takes_videos])
def test_a_marked_frame_lands_in_its_latent_frame(tmp_path, name):
    family = family_of(name)
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


@pytest.mark.parametrize("name", [name for name in NAMES if not family_of(name).task.takes_videos])
def test_videos_are_refused_where_the_family_makes_pictures(tmp_path, name):
    write_video(tmp_path / "videos" / "clip.avi", [random_rgb(SIZE_WH)])
    with pytest.raises(UsageError, match=f"`{name}` learns from pictures, not from videos"):
        plan(tmp_path, arch=name, video_directory=tmp_path / "videos")


@pytest.mark.parametrize(("name", "task"), [case for case in TASKS if family_of(*case).task.text_sees_controls])
def test_captions_are_encoded_with_their_control_pictures_in_the_template_of_the_task(tmp_path, name, task):
    family = family_of(name, task)
    save(tmp_path / "photos" / "a.png", random_rgb(SIZE_WH))
    save(tmp_path / "controls" / "a.png", random_rgb(SIZE_WH, seed=1))
    captions(tmp_path, ["a"], "make it night")
    settings = {"arch": name, "task": task, "control_directory": tmp_path / "controls", "resolution": list(SIZE_WH)}
    build(tmp_path, cache={"text_only": True}, **settings)
    cached = read_tensors(tmp_path / "cache" / text_name("a", family.cache_suffix))
    control_3HW = torch.from_numpy(random_rgb(SIZE_WH, seed=1)).permute(2, 0, 1) / 127.5 - 1
    encoder = family.load_text_encoder(TINY, device=CPU, dtype=torch.bfloat16)
    [text] = encoder.encode(["make it night"], [[control_3HW]])
    assert len(cached) == len(text.tensors)
    for tensor, key in zip(cached.values(), text.tensors, strict=True):
        torch.testing.assert_close(tensor, text.tensors[key])


def latent_keys(family, header):
    """Return the keys of a latent file and the length of each first axis that the declaration knows."""
    grid = "x".join(map(str, header.latent_shape[1:]))
    latent_grid = grid.partition("x")[2] if family.latent.frame_axis is FrameAxis.ABSENT else grid
    yield f"latents_{latent_grid}_float32", family.latent.channels
    yield f"mask_weights_{grid}_float32", 1
    yield f"mask_regions_{grid}_float16", 4
    if family.latent.subcells > 1:
        frames, *sides = header.latent_shape[1:]
        finer = "x".join(str(count) for count in (frames, *(side * family.latent.subcells for side in sides)))
        yield f"mask_subcells_{finer}_float32", 1
        yield f"mask_subregions_{finer}_float16", 4
    for name, shape in family.task.contents.items():
        if name.startswith("latents"):
            # The condition of an item of one frame has its grid.
            yield f"{name}_{latent_grid}_float32", shape[0]
        else:
            yield f"{name}_float32", None


def text_keys(family):
    """Return the keys of a caption's file and the number of axes of each tensor."""
    for name, shape in family.task.text_contents.items():
        prefix = "varlen_" if shape[0] == "L" else ""
        # Masks are whole numbers, whose key names no precision.
        suffix = "" if name.endswith("_mask") else "_bfloat16"
        yield f"{prefix}{name}{suffix}", len(shape)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_names_keys_and_metadata_are_the_declared_ones(photo_of, name, task):
    """Where musubi-tuner has the family, these are its own: what families declare is compared with the interop table."""
    family = family_of(name, task)
    header = photo_of(name, task)
    latents, text = read_tensors(header.path), read_tensors(header.text_path)
    expected = dict(latent_keys(family, header))
    assert latents.keys() == expected.keys()
    assert {key: len(latents[key]) for key, length in expected.items() if length} == {
        key: length for key, length in expected.items() if length
    }
    assert {key: tensor.ndim for key, tensor in text.items()} == dict(text_keys(family))
    assert header.path.name == f"a_0128x0064_{family.cache_suffix}.safetensors"
    theirs = {"architecture": family.metadata_name, "width": "128", "height": "64", "format_version": "1.0.1"}
    assert _shared(read_metadata(header.path)) == theirs
    theirs = {"architecture": family.metadata_name, "caption1": "a photo of kyla", "format_version": "1.0.1"}
    assert _shared(read_metadata(header.text_path)) == theirs


def _shared(metadata):
    """Return the metadata that other trainers write, too."""
    return {key: value for key, value in metadata.items() if not key.startswith("blissmask.")}
