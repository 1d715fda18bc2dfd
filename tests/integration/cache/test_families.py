"""Every family of the registry caches the same photo and clip, and what it writes fits together."""

import pytest
import torch

from blissmask.cachefile.read import list_headers, load_entry, read_metadata, read_tensors
from blissmask.errors import UsageError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.registry import ARCHS, load_architecture
from tests.builders.cache import build, captions, plan
from tests.builders.pictures import photo_folder, random_rgb, save, tier_mask, write_video

FAMILIES = ARCHS.names()
SIZE_WH = (128, 64)


@pytest.fixture(params=FAMILIES)
def family(request):
    return load_architecture(request.param)


def cache_photo(folder, family, task=None):
    """Cache one photo with a mask, and the fewest control pictures the family takes; return its header."""
    photo_folder(folder / "photos", ["a.png"], size_wh=SIZE_WH)
    save(folder / "masks" / "a.png", tier_mask(SIZE_WH))
    captions(folder, ["a"])
    settings = {"mask_directory": folder / "masks", "resolution": list(SIZE_WH), "arch": family.name, "task": task}
    if family.control_range[0]:
        save(folder / "controls" / "a.png", random_rgb(SIZE_WH))
        settings["control_directory"] = folder / "controls"
    summary = build(folder, **settings)
    assert summary.failures == []
    [header] = list_headers(folder / "cache", family.cache_suffix)
    return header


@pytest.fixture
def photo(tmp_path, family):
    return cache_photo(tmp_path, family)


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


@pytest.mark.parametrize("task", load_architecture("qwen-image-edit").tasks)
def test_captions_are_encoded_in_the_template_of_the_task(tmp_path, task):
    save(tmp_path / "photos" / "a.png", random_rgb(SIZE_WH))
    save(tmp_path / "controls" / "a.png", random_rgb(SIZE_WH, seed=1))
    captions(tmp_path, ["a"], "make it night")
    settings = {
        "arch": "qwen-image-edit",
        "task": task,
        "control_directory": tmp_path / "controls",
        "resolution": list(SIZE_WH),
    }
    build(tmp_path, cache={"text_only": True}, **settings)
    [cached] = read_tensors(tmp_path / "cache" / "a_qie_te.safetensors").values()
    family, control_3HW = (
        load_architecture("qwen-image-edit"),
        torch.from_numpy(random_rgb(SIZE_WH, seed=1)).permute(2, 0, 1) / 127.5 - 1,
    )
    encoder = family.load_text_encoder(
        ModelFiles(model="tiny"), device=torch.device("cpu"), dtype=torch.bfloat16, task=task
    )
    [text] = encoder.encode(["make it night"], [[control_3HW]])
    torch.testing.assert_close(cached, text.tensors["vl_embed"])


# Of each task: the keys of the latent file beside the latents and the mask, and those of the text file, as musubi-tuner and the mask fork
# write them (interop table, 2.2); the families of stride 16 and the dtypes are ours, and readers go by the tensor's own dtype.
KEYS = {
    ("hunyuan-video", "t2v"): ({}, {"llm_bfloat16": 2, "llm_mask": 1, "clipL_bfloat16": 1}),
    ("hunyuan-video-15", "t2v"): ({}, {"varlen_vl_embed_bfloat16": 2, "varlen_byt5_embed_bfloat16": 2}),
    ("hunyuan-video-15", "i2v"): (
        {"latents_image_1x4x8_float32": 33, "siglip_float32": 4},
        {"varlen_vl_embed_bfloat16": 2, "varlen_byt5_embed_bfloat16": 2},
    ),
    ("qwen-image", "t2i"): ({}, {"varlen_vl_embed_bfloat16": 2}),
    **{
        ("qwen-image-edit", task): ({"latents_control_0_1x8x16_float32": 16}, {"varlen_vl_embed_bfloat16": 2})
        for task in ("edit", "edit-2509", "edit-2511")
    },
    ("wan21", "t2v"): ({}, {"varlen_t5_bfloat16": 2}),
    ("wan21", "i2v"): ({"latents_image_1x8x16_float32": 20, "clip_float32": 5}, {"varlen_t5_bfloat16": 2}),
    ("wan22", "t2v"): ({}, {"varlen_t5_bfloat16": 2}),
    ("wan22", "i2v"): ({"latents_image_1x8x16_float32": 20}, {"varlen_t5_bfloat16": 2}),
    ("wan22-5b", "t2v"): ({}, {"varlen_t5_bfloat16": 2}),
    ("wan22-5b", "i2v"): ({"latents_image_1x4x8_float32": 48}, {"varlen_t5_bfloat16": 2}),
}


@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name in FAMILIES for task in load_architecture(name).tasks]
)
def test_names_keys_and_metadata_are_those_of_musubi_tuner(tmp_path, name, task):
    """Sizes of first axes for latent files, numbers of axes for text files: the rest is the miniatures' own."""
    family = load_architecture(name)
    header = cache_photo(tmp_path, family, task)
    latents, text = read_tensors(header.path), read_tensors(header.text_path)
    added, wanted = KEYS[name, task]
    grid = "x".join(map(str, header.latent_shape[1:]))
    own = {
        f"latents_{grid}_float32": family.latent.channels,
        f"mask_weights_{grid}_float32": 1,
        f"mask_regions_{grid}_float16": 4,
    }
    assert {key: len(tensor) for key, tensor in latents.items()} == {**own, **added}
    assert {key: tensor.ndim for key, tensor in text.items()} == wanted
    assert header.path.name == f"a_0128x0064_{family.cache_suffix}.safetensors"
    theirs = {"architecture": family.metadata_name, "width": "128", "height": "64", "format_version": "1.0.1"}
    assert {key: value for key, value in header.metadata.items() if not key.startswith("blissmask.")} == theirs
    theirs = {"architecture": family.metadata_name, "caption1": "a photo of kyla", "format_version": "1.0.1"}
    assert {
        key: value for key, value in read_metadata(header.text_path).items() if not key.startswith("blissmask.")
    } == theirs
