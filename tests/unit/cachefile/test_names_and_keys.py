"""File names and tensor keys of the cache, against those that musubi-tuner and blissful-tuner write."""

import pytest
import torch

from blissmask.cachefile.file_names import (
    CLASS,
    EMPTY,
    WRITTEN,
    LatentName,
    TextKind,
    Window,
    as_unicode,
    latent_name,
    parse_latent_name,
    parse_text_name,
    text_name,
)
from blissmask.cachefile.metadata import read_subjects, read_tiers, tiers_text
from blissmask.cachefile.tensor_keys import grid_key, parse_key, plain_key
from blissmask.masks.tiers import TierTable


@pytest.mark.parametrize(
    ("stem", "size", "suffix", "window", "name"),
    [
        ("kyla001", (3000, 2000), "qi", None, "kyla001_3000x2000_qi.safetensors"),
        ("a", (64, 48), "wan", None, "a_0064x0048_wan.safetensors"),
        ("wide", (50000, 2), "wan", None, "wide_50000x0002_wan.safetensors"),
        ("clip", (960, 544), "wan", Window(0, 25), "clip_00000-025_0960x0544_wan.safetensors"),
        ("my_clip 1", (960, 544), "hv15", Window(120, 81), "my_clip 1_00120-081_0960x0544_hv15.safetensors"),
    ],
)
class TestLatentNames:
    def test_they_are_those_of_musubi_tuner(self, stem, size, suffix, window, name):
        assert latent_name(stem, size, suffix, window) == name

    def test_they_are_read_back(self, stem, size, suffix, window, name):
        assert parse_latent_name(name, suffix, is_clip=window is not None) == LatentName(stem, size, window)


def test_a_framepack_section_is_read_as_a_clip():
    name = "clip_00000-025-03_0960x0544_fp.safetensors"
    assert parse_latent_name(name, "fp", is_clip=True) == LatentName("clip", (960, 544), Window(0, 25))


def test_a_picture_that_is_called_like_a_clip_keeps_its_stem():
    name = latent_name("clip_00000-025", (64, 64), "wan")
    assert parse_latent_name(name, "wan", is_clip=False) == LatentName("clip_00000-025", (64, 64), None)


@pytest.mark.parametrize(
    "name",
    ["a_wan.safetensors", "a_64x64_wan.safetensors", "a_0064x0064_qi.safetensors", "a_wan_te.safetensors", "_wan"],
)
def test_other_files_are_no_latents_of_the_family(name):
    assert parse_latent_name(name, "wan", is_clip=False) is None


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        (WRITTEN, "te"),
        (CLASS, "class"),
        (EMPTY, "empty"),
        (TextKind(3), "te3"),
        (TextKind(12, is_class=True), "class12"),
    ],
)
def test_text_names_are_read_back(kind, ending):
    name = text_name("my_clip", "wan", kind)
    assert name == f"my_clip_wan_{ending}.safetensors"
    assert parse_text_name(name, "wan") == "my_clip"
    assert parse_text_name(name, "qi") is None


@pytest.mark.parametrize("name", ["a_wan_te0.safetensors", "a_wan_empty2.safetensors", "a_wan_text.safetensors"])
def test_other_files_are_no_texts(name):
    assert parse_text_name(name, "wan") is None


def test_a_latent_file_is_no_text_file():
    assert parse_text_name("a_0064x0064_wan.safetensors", "wan") is None


def test_bytes_that_are_no_unicode_are_escaped():
    assert as_unicode("caf\udce9") == "caf\\xe9"


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("latents_7x68x120_bfloat16", "latents"),
        ("latents_68x120_bfloat16", "latents"),
        ("latents_image_7x68x120_bfloat16", "latents_image"),
        ("latents_control_0_1x36x64_bfloat16", "latents_control_0"),
        ("latents_7x68x120_float8_e4m3fn", "latents"),
        ("clip_bfloat16", "clip"),
        ("f_indices_int32", "f_indices"),
        ("varlen_t5_bfloat16", "t5"),
        ("varlen_vl_embed_float8_e4m3fn", "vl_embed"),
        ("llm_mask", "llm_mask"),
        ("clipL_float16", "clipL"),
        ("mask_weights_1x64x64_float32", "mask_weights"),
        ("mask_weights_1x64x64_float16", "mask_weights"),
        ("mask_weights_1x64x64_bfloat16", "mask_weights"),
        ("mask_weights_float32", "mask_weights"),
        ("mask_weights_64x64_float16", "mask_weights"),
        ("latents_mask_weights_1x64x64_float32", "mask_weights"),
        ("mask_weights_mask", "mask_weights"),
        ("mask_regions_1x64x64_float16", "mask_regions"),
    ],
)
def test_the_content_of_a_key_is_known(key, content):
    assert parse_key(key).content == content


def test_variable_length_is_known_from_the_key():
    assert parse_key("varlen_t5_bfloat16").variable_length


def test_keys_on_the_grid_name_frames_rows_and_columns():
    assert grid_key("latents", (16, 7, 68, 120), torch.bfloat16) == "latents_7x68x120_bfloat16"


def test_keys_of_text_have_no_grid():
    assert plain_key("t5", torch.bfloat16, variable_length=True) == "varlen_t5_bfloat16"


def test_every_dtype_that_a_file_can_hold_is_told_from_the_content():
    from safetensors.torch import _SIZE

    assert _SIZE
    assert {parse_key(plain_key("x", dtype)).content for dtype in _SIZE} == {"x"}


def test_attention_masks_have_no_dtype_in_their_key():
    assert plain_key("llm_mask", torch.int64) == "llm_mask"


def test_tier_values_are_read_back_as_they_were_written():
    tiers = TierTable(face=200, hair=90)
    assert read_tiers({"blissmask.tiers": tiers_text(tiers)}) == tiers


@pytest.mark.parametrize("text", ["", "255,128,80", "a,b,c,d"])
def test_entries_without_tier_values_have_none(text):
    assert read_tiers({"blissmask.tiers": text}) is None


@pytest.mark.parametrize("text", ["", "x", "[1]", "3", "[" * 100_000])
def test_subjects_that_are_no_table_are_none(text):
    assert read_subjects({"blissmask.subjects": text}) == ()
    assert read_subjects({"blissmask.subjects": '{"kyla": true}'}) == ("kyla",)
