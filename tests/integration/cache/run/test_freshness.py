"""A second `cache` run redoes exactly what changed, and loads only the models that this needs."""

import os
import shutil

import numpy as np
import pytest
import torch

from blissmask.cachefile.read_file import read_metadata
from blissmask.cachefile.write import save_tensors
from blissmask.dataset.item import MaskSource
from blissmask.errors import MaskError, StoppedError
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import Action, RunContext
from tests.builders.cache import PHOTO_WH, ModelCounter, build, captions, config, entries, metadata, plan, times
from tests.builders.families import CACHE_SUFFIX, PLAIN
from tests.builders.pictures import half_mask, mask_folder, photo_folder, random_rgb, save


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Return a folder that was cached, and which models are loaded from then on."""
    photo_folder(tmp_path / "photos", ["a.png", "b.png", "c.png"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png", "b.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a", "b", "c"])
    again(tmp_path)
    return tmp_path, ModelCounter(monkeypatch)


def again(folder, **settings):
    # Windows that follow masks are in test_crops.py.
    return build(folder, **{"mask_directory": folder / "masks", "crop": "centre", **settings})


def changed(before, after):
    return sorted(name for name in before | after if before.get(name) != after.get(name))


def test_nothing_is_done_when_nothing_changed(cached):
    folder, models = cached
    before = times(folder)
    summary = again(folder)
    assert (summary.written, summary.skipped, changed(before, times(folder)), models.loaded) == (0, 3, [], [])


def test_no_picture_is_opened_when_nothing_changed(cached, monkeypatch):
    folder, _ = cached
    from PIL import Image

    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    assert again(folder).skipped == 3


def test_mask_sources_of_fresh_items_are_counted_too(cached):
    folder, _ = cached
    first = again(folder)
    assert first.details["mask_sources"] == {"alpha": 0, "file": 2, "full": 1}
    assert 0.4 < first.details["mean_weight"] < 0.7


def test_a_changed_photo_is_encoded_alone(cached):
    folder, models = cached
    before = times(folder)
    save(folder / "photos" / "b.png", random_rgb(PHOTO_WH, seed=9))
    again(folder)
    assert (changed(before, times(folder)), models.loaded) == (
        [f"b_0096x0064_{CACHE_SUFFIX}.safetensors"],
        ["load_latent_encoder"],
    )


def test_a_changed_mask_is_renewed_without_a_vae(cached):
    folder, models = cached
    before, latents = times(folder), entries(folder)["a"].latents_Cfhw
    save(folder / "masks" / "a.png", half_mask(PHOTO_WH))
    again(folder)
    assert (changed(before, times(folder)), models.loaded) == ([f"a_0096x0064_{CACHE_SUFFIX}.safetensors"], [])
    assert torch.equal(entries(folder)["a"].latents_Cfhw, latents)
    assert entries(folder)["a"].weights_1fhw.unique().tolist() == [0.0, 1.0]


def test_a_changed_caption_is_encoded_without_a_vae(cached):
    folder, models = cached
    before = times(folder)
    captions(folder, ["c"], "another caption")
    again(folder)
    assert (changed(before, times(folder)), models.loaded) == (
        [f"c_{CACHE_SUFFIX}_te.safetensors"],
        ["load_text_encoder"],
    )


def test_other_tier_values_renew_only_items_with_masks(cached):
    folder, models = cached
    before = times(folder)
    again(folder, masks={"hair": 90})
    assert (changed(before, times(folder)), models.loaded) == (
        [f"a_0096x0064_{CACHE_SUFFIX}.safetensors", f"b_0096x0064_{CACHE_SUFFIX}.safetensors"],
        [],
    )


@pytest.mark.parametrize("empty_mask", ["error", "full"])
def test_what_is_done_about_empty_masks_renews_no_mask_that_has_weight(cached, empty_mask):
    folder, _ = cached
    before = times(folder)
    again(folder, cache={"empty_mask": empty_mask})
    assert changed(before, times(folder)) == []


def test_a_mask_that_was_emptied_is_filled_and_emptied_again_alone(cached):
    folder, _ = cached
    save(folder / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    again(folder)
    for empty_mask, weight in (("full", 1.0), ("warn", 0.0)):
        before = times(folder)
        again(folder, cache={"empty_mask": empty_mask})
        assert changed(before, times(folder)) == [f"a_0096x0064_{CACHE_SUFFIX}.safetensors"]
        assert entries(folder)["a"].weights_1fhw.mean() == weight


def test_a_fresh_mask_that_is_empty_is_refused_when_asked_to(cached):
    folder, _ = cached
    save(folder / "masks" / "a.png", np.zeros(PHOTO_WH[::-1], np.uint8))
    again(folder)
    with pytest.raises(MaskError, match="1 mask is zero everywhere"):
        again(folder, cache={"empty_mask": "error"})


def test_a_new_mask_file_replaces_full_weight(cached):
    folder, models = cached
    save(folder / "masks" / "c.png", half_mask(PHOTO_WH))
    again(folder)
    assert (metadata(folder, "c")["blissmask.mask_source"], models.loaded) == (MaskSource.FILE, [])


def test_a_removed_mask_file_becomes_full_weight(cached):
    folder, _ = cached
    (folder / "masks" / "a.png").unlink()
    again(folder)
    assert (entries(folder)["a"].weights_1fhw == 1).all()


def test_masks_are_taken_out_when_the_data_set_has_none_any_more(cached):
    folder, models = cached
    again(folder, mask_directory=None)
    assert (entries(folder)["a"].weights_1fhw, models.loaded) == (None, [])


def test_another_resolution_is_encoded_anew(cached):
    folder, _ = cached
    again(folder, resolution=[48, 64])
    assert entries(folder)["a"].latents_Cfhw.shape[2:] == (8, 6)


def test_another_vae_precision_is_encoded_anew(cached):
    folder, _ = cached
    task = config(folder, crop="centre", mask_directory=folder / "masks")
    task = task.model_copy(update={"model": task.model.model_copy(update={"vae_dtype": "bfloat16"})})
    assert [item.reason for item in plan_cache(task).items] == ["vae dtype changed"] * 3


def test_a_copied_data_set_is_fresh(cached):
    folder, models = cached
    for path in (folder / "photos").iterdir():
        os.utime(path, ns=(1, 1))
    assert (again(folder).skipped, models.loaded) == (3, [])


def test_after_a_copy_the_content_is_read_once_only(cached, monkeypatch):
    folder, _ = cached
    for path in (folder / "photos").iterdir():
        os.utime(path, ns=(1, 1))
    again(folder)
    before = times(folder)
    again(folder)
    assert changed(before, times(folder)) == []


def test_a_copied_data_set_keeps_its_weights(cached):
    folder, _ = cached
    before = entries(folder)["a"].weights_1fhw
    os.utime(folder / "masks" / "a.png", ns=(1, 1))
    again(folder)
    assert torch.equal(entries(folder)["a"].weights_1fhw, before)


def change_unseen(path):
    """Change a file's content, but neither its size nor its time."""
    state = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_change_that_keeps_size_and_time_is_trusted_to_be_none(cached):
    folder, _ = cached
    change_unseen(folder / "photos" / "a.png")
    assert again(folder).skipped == 3


def test_verify_reads_the_content(cached):
    folder, _ = cached
    change_unseen(folder / "photos" / "a.png")
    planned = plan(folder, crop="centre", mask_directory=folder / "masks", cache={"verify": True})
    assert [item.key[-5:] for item in planned.having(Action.WRITE)] == ["a.png"]


def test_verify_finds_values_that_are_not_finite(cached):
    folder, _ = cached
    path = folder / "cache" / f"a_0096x0064_{CACHE_SUFFIX}.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = b"\xff\xff\xff\xff"  # a float32 or two float16 NaN
    path.write_bytes(data)
    planned = plan(folder, crop="centre", mask_directory=folder / "masks", cache={"verify": True})
    assert [item.reason for item in planned.having(Action.WRITE)] == ["damaged"]


def test_verify_leaves_what_is_sound(cached):
    folder, models = cached
    assert (again(folder, cache={"verify": True}).skipped, models.loaded) == (3, [])


def test_force_does_everything_again(cached):
    folder, _ = cached
    before = times(folder)
    again(folder, run={"force": True})
    assert len(changed(before, times(folder))) == 6


def test_a_family_takes_over_the_cache_of_one_with_the_same_encoders(cached):
    folder, models = cached
    assert (again(folder, arch=PLAIN).skipped, models.loaded) == (3, [])
    assert metadata(folder, "a")["blissmask.arch"] == PLAIN


def test_files_that_no_item_needs_are_removed(cached):
    folder, _ = cached
    for name in ("photos/b.png", "photos/b.txt", "masks/b.png"):
        (folder / name).unlink()
    again(folder)
    assert sorted(path.name[0] for path in (folder / "cache").glob("*.safetensors")) == ["a", "a", "c", "c"]


def test_keep_cache_removes_nothing(cached):
    folder, _ = cached
    (folder / "photos" / "b.png").unlink()
    again(folder, cache={"keep_cache": True})
    assert (folder / "cache" / f"b_0096x0064_{CACHE_SUFFIX}.safetensors").exists()


def test_files_of_others_are_never_removed(cached):
    folder, _ = cached
    foreign = folder / "cache" / f"their_0096x0064_{CACHE_SUFFIX}.safetensors"
    save_tensors(foreign, {"latents_1x8x12_bfloat16": torch.zeros(16, 1, 8, 12)}, {"architecture": CACHE_SUFFIX})
    damaged = folder / "cache" / f"broken_0096x0064_{CACHE_SUFFIX}.safetensors"
    damaged.write_bytes(b"?")
    again(folder)
    assert (foreign.exists(), damaged.exists()) == (True, True)


def test_the_files_of_an_item_that_cannot_be_read_now_are_kept(cached):
    folder, _ = cached
    (folder / "photos" / "b.png").write_bytes(b"broken copy")
    assert again(folder).exit_code == 3
    assert (folder / "cache" / f"b_0096x0064_{CACHE_SUFFIX}.safetensors").exists()


def test_text_only_leaves_latents_alone(cached):
    folder, _ = cached
    (folder / "photos" / "b.png").unlink()
    again(folder, cache={"text_only": True})
    assert (folder / "cache" / f"b_0096x0064_{CACHE_SUFFIX}.safetensors").exists()


def test_a_truncated_entry_is_made_anew(cached):
    folder, _ = cached
    path = folder / "cache" / f"a_0096x0064_{CACHE_SUFFIX}.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert [
        item.reason for item in plan(folder, crop="centre", mask_directory=folder / "masks").having(Action.WRITE)
    ] == ["damaged"]
    again(folder)
    assert read_metadata(path)["blissmask.format"] == "1"


def test_an_entry_of_another_tool_is_replaced_and_named(cached):
    folder, _ = cached
    path = folder / "cache" / f"a_0096x0064_{CACHE_SUFFIX}.safetensors"
    save_tensors(path, {"latents_1x8x12_bfloat16": torch.zeros(16, 1, 8, 12)}, {"architecture": CACHE_SUFFIX})
    told = [problem.what for problem in plan(folder, crop="centre", mask_directory=folder / "masks").warnings]
    assert "1 cache file of another tool is replaced" in told


def test_a_moved_cache_folder_stays_fresh(cached):
    folder, models = cached
    shutil.move(folder / "cache", folder / "elsewhere")
    assert (again(folder, cache_directory=folder / "elsewhere").skipped, models.loaded) == (3, [])


def test_a_stopped_run_keeps_what_is_finished_and_removes_nothing(cached):
    folder, _ = cached
    (folder / "photos" / "a.png").unlink()
    save(folder / "photos" / "d.png", random_rgb(PHOTO_WH))
    captions(folder, ["d"])
    stopped = plan_cache(config(folder, mask_directory=folder / "masks"))
    with pytest.raises(StoppedError):
        run_cache(stopped, RunContext(stop_signal=lambda: 2))
    assert (folder / "cache" / f"a_0096x0064_{CACHE_SUFFIX}.safetensors").exists()


def test_the_next_run_finishes_what_a_stopped_one_left(cached):
    folder, _ = cached
    shutil.rmtree(folder / "cache")
    polls = iter(range(100))
    stopped = plan_cache(config(folder, mask_directory=folder / "masks"))
    with pytest.raises(StoppedError):
        run_cache(stopped, RunContext(jobs=1, stop_signal=lambda: 2 if next(polls) >= 1 else 0))
    again(folder)
    assert sorted(entries(folder)) == ["a", "b", "c"]


def save_with_alpha(folder, value):
    save(folder / "photos" / "c.png", np.dstack([random_rgb(PHOTO_WH), np.full(PHOTO_WH[::-1], value, np.uint8)]))


def test_a_changed_alpha_channel_changes_the_mask_without_a_vae(cached):
    folder, models = cached
    save_with_alpha(folder, 255)
    again(folder, alpha_mask=True)
    models.loaded.clear()
    save_with_alpha(folder, 51)
    again(folder, alpha_mask=True)
    assert entries(folder)["c"].weights_1fhw.mean() == pytest.approx(0.2, abs=1e-6)
    assert models.loaded == []


def test_a_photo_saved_anew_with_the_same_colours_is_not_encoded(cached):
    folder, models = cached
    save(folder / "photos" / "a.png", random_rgb(PHOTO_WH), compress_level=0)
    again(folder)
    assert (again(folder).skipped, models.loaded) == (3, [])
