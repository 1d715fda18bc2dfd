"""`cache` on photos, with the real classes in miniature: masks, refusals, failures."""

import os

import numpy as np
import pytest
import torch

from blissmask.cachefile.read_headers import list_headers
from blissmask.errors import InputError, MaskError, UsageError
from blissmask.families.vae.latent_encoder import LatentEncoder
from blissmask.masks.tiers import TierTable
from blissmask.tasks.run.plan import Action
from tests.builders.cache import PHOTO_WH, ModelCounter, build, captions, entries, metadata, plan
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import half_mask, mask_folder, photo_folder, random_rgb, save, tier_mask, tree, turned


@pytest.fixture
def photos(tmp_path):
    """Return a folder with three photos and captions, two of them with masks."""
    photo_folder(tmp_path / "photos", ["a.png", "b.png", "c.png"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png", "b.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a", "b", "c"])
    return tmp_path


def masked(folder, **settings):
    return build(folder, mask_directory=folder / "masks", **settings)


def rgba(folder, name, alpha_HW, *, seed=0):
    rgb_HW3 = random_rgb(PHOTO_WH, seed=seed)
    return save(folder / "photos" / name, np.dstack([rgb_HW3, alpha_HW]))


def problems_of(error):
    return [problem.what for problem in error.value.problems]


def test_every_photo_gets_latents_and_text(photos):
    build(photos)
    names = sorted(path.name for path in (photos / "cache").iterdir())
    assert names == [
        f"{stem}_{kind}{CACHE_SUFFIX}{te}.safetensors"
        for stem in "abc"
        for kind, te in (("0096x0064_", ""), ("", "_te"))
    ]


def test_inputs_are_left_as_they_are(photos):
    before = {name: tree(photos / name) for name in ("photos", "masks")}
    masked(photos)
    assert {name: tree(photos / name) for name in ("photos", "masks")} == before


def test_mask_weights_have_the_shape_of_the_latents(photos):
    masked(photos)
    assert entries(photos)["a"].weights_1fhw.shape[1:] == entries(photos)["a"].latents_Cfhw.shape[1:]


def test_the_mean_weight_of_the_cropped_mask_is_kept(photos):
    masked(photos, crop="centre")
    expected = (
        tier_mask(PHOTO_WH)[:, 4:-4].mean() / 255
    )  # 96 x 64 becomes 72 x 48, 64 columns of it are kept: 85.3 of 96
    assert entries(photos)["a"].weights_1fhw.mean() == pytest.approx(expected, abs=0.02)


def test_without_masks_no_weights_are_written(photos):
    build(photos)
    assert entries(photos)["a"].weights_1fhw is None


def test_an_item_without_mask_is_trained_at_full_weight(photos):
    masked(photos)
    assert (entries(photos)["c"].weights_1fhw == 1).all()


def test_region_shares_sum_to_one_in_float16(photos):
    masked(photos)
    [header] = [header for header in list_headers(photos / "cache", CACHE_SUFFIX) if header.stem == "a"]
    assert header.contents["mask_regions"][0].endswith("_float16")
    assert (entries(photos)["a"].regions_4fhw.sum(dim=0) == 1).all()


def test_region_shares_give_the_weights_back(photos):
    masked(photos)
    entry, tiers = entries(photos)["a"], TierTable()
    values = torch.tensor([value / 255 for value in tiers.as_dict().values()])
    again = torch.einsum("rfhw,r->fhw", entry.regions_4fhw, values)
    assert torch.allclose(again, entry.weights_1fhw[0], atol=2e-3)


def test_a_mask_with_other_values_has_no_regions(photos):
    save(photos / "masks" / "a.png", np.full(PHOTO_WH[::-1], 100, np.uint8))
    masked(photos)
    assert entries(photos)["a"].regions_4fhw is None


def test_the_alpha_channel_wins_over_the_mask_file(photos):
    rgba(photos, "a.png", np.full(PHOTO_WH[::-1], 51, np.uint8))
    masked(photos, alpha_mask=True)
    assert entries(photos)["a"].weights_1fhw.mean() == pytest.approx(0.2, abs=1e-6)


def test_the_mask_file_wins_when_alpha_masks_are_not_asked_for(photos):
    rgba(photos, "a.png", np.full(PHOTO_WH[::-1], 51, np.uint8))
    masked(photos)
    assert metadata(photos, "a")["blissmask.mask_source"] == "file"


def test_alpha_changes_no_latent(photos):
    save(photos / "photos" / "a.png", random_rgb(PHOTO_WH))
    build(photos)
    opaque = entries(photos)["a"].latents_Cfhw
    rgba(photos, "a.png", half_mask(PHOTO_WH))
    build(photos, alpha_mask=True, crop="centre")
    assert torch.equal(entries(photos)["a"].latents_Cfhw, opaque)


def test_mask_sources_are_counted(photos):
    rgba(photos, "b.png", half_mask(PHOTO_WH))
    assert masked(photos, alpha_mask=True).details["mask_sources"] == {"alpha": 1, "file": 1, "full": 1}


def test_the_table_names_the_sources(photos):
    rows = masked(photos).tables[0].rows
    assert [row[:3] for row in rows] == [("mask file", "2", "66.7%"), ("none, full weight", "1", "33.3%")]


def test_the_words_of_the_guide_tell_what_has_no_mask(photos):
    save(photos / "photos" / "d.png", random_rgb(PHOTO_WH, seed=9))
    captions(photos, ["d"])
    told = [problem.what for problem in masked(photos, resolution=[96, 64]).warnings]
    assert told == [
        "2 images have no matching mask file",
        "2 items had no mask (no alpha + no file). Filled with full-weight (255)",
    ]


def test_required_masks_that_are_missing_are_all_named_before_anything_is_written(photos):
    for mask in ("a.png", "b.png"):
        (photos / "masks" / mask).unlink()
    with pytest.raises(InputError) as caught:
        masked(photos, require_mask=True)
    [problem] = caught.value.problems
    assert problem.what == "require_mask=true but no mask found for 3 items"
    assert len([place for place in problem.where if place.endswith(".png")]) == 3
    assert not (photos / "cache").exists()


def test_orphan_masks_are_named(photos):
    save(photos / "masks" / "nobody.png", tier_mask(PHOTO_WH))
    assert "1 mask has no photo" in [problem.what for problem in plan(photos, mask_directory=photos / "masks").warnings]


def test_a_mask_that_is_zero_everywhere_is_named_before_the_run(photos):
    save(photos / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    told = [problem.what for problem in plan(photos, mask_directory=photos / "masks").warnings]
    assert any(text.startswith("1 mask is zero everywhere") for text in told)


def test_a_zero_mask_stops_the_run_when_asked_to(photos):
    save(photos / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    with pytest.raises(MaskError):
        masked(photos, cache={"empty_mask": "error"})


def test_a_zero_mask_becomes_full_weight_when_asked_to(photos):
    save(photos / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    masked(photos, cache={"empty_mask": "full"})
    assert (entries(photos)["a"].weights_1fhw == 1).all()


def test_a_mask_of_another_shape_costs_its_item(photos):
    save(photos / "masks" / "a.png", tier_mask((100, 64)))
    summary = masked(photos)
    assert "aspect ratio differs by 4.2% (limit 1%)" in summary.failures[0].problem.what
    assert sorted(entries(photos)) == ["b", "c"]


def test_a_mask_of_half_the_size_gives_the_same_weights(photos):
    mask_HW = np.repeat(np.repeat(tier_mask((48, 32)), 2, axis=0), 2, axis=1)
    save(photos / "masks" / "a.png", mask_HW)
    save(photos / "masks" / "b.png", tier_mask((48, 32)))
    masked(photos)
    assert torch.equal(entries(photos)["a"].weights_1fhw, entries(photos)["b"].weights_1fhw)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_and_an_upright_mask_lie_on_each_other(photos, orientation):
    grey_HW = tier_mask(PHOTO_WH)
    save(photos / "photos" / "a.jpg", turned(np.dstack([grey_HW] * 3), orientation), orientation=orientation)
    (photos / "photos" / "a.png").unlink()
    save(photos / "masks" / "a.png", turned(grey_HW, orientation), orientation=orientation)
    masked(photos)
    assert metadata(photos, "a")["width"] == "96"
    assert torch.equal(entries(photos)["a"].weights_1fhw, entries(photos)["b"].weights_1fhw)


def test_sixteen_bit_masks_give_the_same_weights_and_regions(photos):
    save(photos / "masks" / "a.png", tier_mask(PHOTO_WH).astype(np.uint16) * 257)
    masked(photos)
    first, second = entries(photos)["a"], entries(photos)["b"]
    assert torch.allclose(first.weights_1fhw, second.weights_1fhw, atol=1e-6)
    assert torch.equal(first.regions_4fhw, second.regions_4fhw)


def test_a_truncated_photo_costs_one_item(photos):
    path = photos / "photos" / "b.png"
    path.write_bytes(path.read_bytes()[:-2000])
    summary = masked(photos)
    assert ([failure.key for failure in summary.failures], summary.exit_code) == ([str(path)], 3)
    assert sorted(entries(photos)) == ["a", "c"]


def test_a_file_that_is_no_picture_fails_in_the_plan(photos):
    (photos / "photos" / "b.png").write_text("<html>", encoding="utf-8")
    [item] = plan(photos).having(Action.FAIL)
    assert "web page" in item.reason


def test_a_cached_photo_whose_caption_fails_is_counted_once(photos):
    captions(photos, ["a", "b", "c"], '{"caption": "kyla"}')
    build(photos, caption_style="json")
    (photos / "photos" / "b.txt").write_text("{no JSON", encoding="utf-8")
    actions = [item.action for item in plan(photos, caption_style="json").items]
    assert actions == [Action.SKIP, Action.FAIL, Action.SKIP]


def test_two_photos_of_one_name_are_refused(photos):
    save(photos / "photos" / "A.jpg", random_rgb(PHOTO_WH))
    with pytest.raises(InputError, match="two files would share one mask and one cache entry"):
        plan(photos)


def test_missing_captions_are_all_named(photos):
    for stem in "ab":
        (photos / "photos" / f"{stem}.txt").unlink()
    with pytest.raises(InputError) as caught:
        plan(photos)
    assert problems_of(caught) == ["no caption for 2 items"]


def test_photos_without_a_caption_file_get_the_caption_of_the_data_set(photos):
    (photos / "photos" / "a.txt").rename(photos / "photos" / "a.png.json")
    (photos / "photos" / "b.txt").write_text("{trigger}, a {class_word} in a {red} garden", encoding="utf-8")
    planned = plan(photos, caption="a photo of {trigger}", trigger="ohwx", class_word="woman")
    texts = {text.item.media.stem: text.caption for text in planned.texts}
    assert (texts["a"], texts["b"]) == ("a photo of ohwx", "ohwx, a woman in a {red} garden")
    [notice] = [problem for problem in planned.warnings if "without a caption file" in problem.what]
    assert (notice.what, notice.fix) == (
        "1 item without a caption file",
        "they get `a photo of {trigger}`; a file that says what is not to be learned is better",
    )
    assert not [problem for problem in planned.warnings if "not read" in problem.what]


def test_caption_files_of_another_name_are_told_where_photos_get_the_caption_of_the_data_set(photos):
    folder = photos / "photos"
    (folder / "a.txt").rename(folder / "a.TXT")
    (folder / "b.txt").rename(folder / "b.png.txt")
    planned = plan(photos, caption="a photo of a person")
    [notice] = [problem for problem in planned.warnings if "not read" in problem.what]
    assert notice.what == "2 caption files are not read, for the name"
    assert set(notice.where) == {
        f"{folder / 'a.TXT'}: a.txt is looked for",
        f"{folder / 'b.png.txt'}: b.txt is looked for",
    }
    assert notice.fix == "rename such files; `caption` takes their place now"
    assert not [problem for problem in planned.warnings if "without a caption file" in problem.what]


def test_captions_that_all_have_another_extension_are_told_with_the_setting_that_reads_them(photos):
    for caption in (photos / "photos").glob("*.txt"):
        caption.rename(caption.with_suffix(".caption"))
    [notice] = [problem for problem in plan(photos, caption="a person").warnings if "not read" in problem.what]
    assert notice.fix == 'set `caption_extension = ".caption"`; `caption` takes their place now'


def test_a_word_in_braces_that_is_blank_is_refused_with_the_line_to_write(photos):
    for stem in "ab":
        (photos / "photos" / f"{stem}.txt").unlink()
    with pytest.raises(InputError) as caught:
        plan(photos, caption="a photo of {trigger}", trigger="")
    [problem] = caught.value.problems
    assert problem.what == "2 items with {trigger} in the caption, and `trigger` is blank"
    assert problem.fix == 'set `trigger` under [general], e.g. `trigger = "ohwx"`'


def test_latents_only_needs_no_captions(photos):
    (photos / "photos" / "a.txt").unlink()
    build(photos, cache={"latents_only": True})
    assert len(list((photos / "cache").glob("*_te.safetensors"))) == 0


def test_text_only_writes_no_latents(photos):
    build(photos, cache={"text_only": True})
    assert sorted(path.name for path in (photos / "cache").iterdir()) == [
        f"{stem}_{CACHE_SUFFIX}_te.safetensors" for stem in "abc"
    ]


def test_equal_captions_get_equal_embeddings_under_every_name(photos):
    build(photos)
    loaded = entries(photos)
    assert torch.equal(loaded["a"].conditioning["t5"], loaded["c"].conditioning["t5"])


def test_the_caption_stands_in_the_text_file(photos):
    from safetensors import safe_open

    build(photos)
    with safe_open(photos / "cache" / f"a_{CACHE_SUFFIX}_te.safetensors", framework="pt") as file:
        assert file.metadata()["caption1"] == "a photo of kyla"


def test_musubi_tuners_metadata_is_there(photos):
    build(photos)
    found = metadata(photos, "a")
    assert {name: found[name] for name in ("architecture", "width", "height", "format_version")} == {
        "architecture": CACHE_SUFFIX,
        "width": "96",
        "height": "64",
        "format_version": "1.0.1",
    }


def test_provenance_is_in_the_metadata(photos):
    masked(photos)
    found = metadata(photos, "a")
    assert found["blissmask.media"] == "a.png"
    assert found["blissmask.geometry"].startswith("96x64 -> 72x48, crop 64x48")
    assert found["blissmask.vae_dtype"] == "float32"


def test_any_file_name_works(photos):
    stem = os.fsdecode("naïve [b] \n 😀 -x".encode() + b"\xff")
    save(photos / "photos" / f"{stem}.png", random_rgb(PHOTO_WH))
    save(photos / "masks" / f"{stem}.png", tier_mask(PHOTO_WH))
    captions(photos, [stem])
    masked(photos)
    assert masked(photos).skipped == 4


def test_a_photo_called_like_a_clip_is_no_clip(photos):
    save(photos / "photos" / "x_00000-025.png", random_rgb(PHOTO_WH))
    captions(photos, ["x_00000-025"])
    build(photos)
    assert "x_00000-025" in entries(photos)


def test_a_name_too_long_for_a_cache_file_is_refused(photos):
    save(photos / "photos" / f"{'n' * 240}.png", random_rgb(PHOTO_WH))
    captions(photos, ["n" * 240])
    with pytest.raises(InputError, match="file names too long"):
        plan(photos)


def test_a_missing_family_says_which_flag(photos):
    with pytest.raises(UsageError, match="`--arch` is missing"):
        plan(photos, arch=None)


def test_two_data_sets_with_one_cache_folder_are_refused(photos):
    from blissmask.config.model import Config
    from blissmask.tasks.cache.plan import plan as plan_cache
    from tests.builders.cache import config

    once = config(photos)
    with pytest.raises(UsageError, match="datasets 1 and 2 have one `cache_directory`"):
        plan_cache(Config.model_validate({**once.model_dump(), "datasets": [once.datasets[0].model_dump()] * 2}))


def test_a_dry_run_loads_no_model(photos, monkeypatch):
    counter = ModelCounter(monkeypatch)
    plan(photos)
    assert counter.loaded == []


def test_a_dry_run_shows_buckets_and_work(photos):
    save(photos / "photos" / "c.png", random_rgb((64, 96)))
    details = plan(photos, enable_bucket=True).details
    assert details["buckets"] == {"64x48": 2, "48x64": 1}
    assert details["work"] == {"encode": 3}


def test_broken_values_cost_the_item_and_are_not_written(photos, monkeypatch):
    encode_item = LatentEncoder.encode_item

    def poisoned(self, pixels_BCFHW, **controls):
        contents = encode_item(self, pixels_BCFHW, **controls)
        is_white = pixels_BCFHW.mean() > 0.5
        return {name: tensor * float("nan") if is_white else tensor for name, tensor in contents.items()}

    save(photos / "photos" / "b.png", np.full((64, 96, 3), 255, np.uint8))
    monkeypatch.setattr(LatentEncoder, "encode_item", poisoned)
    summary = build(photos)
    assert "NaN or infinite values" in summary.failures[0].problem.what
    assert not (photos / "cache" / f"b_0096x0064_{CACHE_SUFFIX}.safetensors").exists()
