"""Crops that follow the mask, and zooms: planned, encoded only where the window differs, remembered, shown."""

import shutil

import numpy as np
import pytest

from blissmask.cachefile.read_headers import list_headers
from blissmask.errors import InputError, UsageError
from blissmask.families.registry import load_family
from blissmask.processes import Processes
from blissmask.tasks.cache import cache_sheet
from blissmask.tasks.cache.reading import mask_weights
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train.data.stale import stale_warnings
from blissmask.training.data.cached_set import read_set
from tests.builders.cache import ModelCounter, build, captions, config, entries, metadata, plan, times, video_folder
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import random_rgb, save, write_video

WIDE = (192, 48)
LARGE = (640, 480)


def person(size_wh, left, *, head=8, width=16, tall=None):
    """Return a mask of a person: hair, then a face, then a body, ``width`` wide, down to ``tall`` or the lower edge."""
    grey = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    grey[2 : 2 + head // 2, left : left + width] = 80
    grey[2 + head // 2 : 2 + 2 * head, left : left + width] = 255
    grey[2 + 2 * head : tall, left : left + width] = 128
    return grey


@pytest.fixture
def wide(tmp_path):
    """Return a folder with a wide photo, the person at its right edge, and a photo of the training size."""
    save(tmp_path / "photos" / "wide.png", random_rgb(WIDE))
    save(tmp_path / "masks" / "wide.png", person(WIDE, 170))
    save(tmp_path / "photos" / "fits.png", random_rgb((64, 48)))
    save(tmp_path / "masks" / "fits.png", person((64, 48), 4))
    captions(tmp_path, ["wide", "fits"])
    return tmp_path


@pytest.fixture
def large(tmp_path):
    """Return a folder with a large photo of a small person."""
    save(tmp_path / "photos" / "a.png", random_rgb(LARGE))
    save(tmp_path / "masks" / "a.png", person(LARGE, 300, head=30, width=40, tall=250))
    captions(tmp_path, ["a"], "ohwx at the beach")
    return tmp_path


def masked(folder, **settings):
    return {"mask_directory": folder / "masks", **settings}


def work(found):
    return {item.key.rpartition("/")[2]: (item.action, item.reason) for item in found.items}


def crop_of(folder, stem):
    return metadata(folder, stem)["blissmask.geometry"].partition("crop ")[2]


def told(found):
    return " ".join(problem.what for problem in found.warnings)


def test_the_window_keeps_the_subject(wide):
    build(wide, **masked(wide))
    assert crop_of(wide, "wide") == "64x48+128+0"
    weights = entries(wide)["wide"].weights_1fhw
    assert weights.sum() > 0


def test_the_middle_is_taken_on_request(wide):
    build(wide, **masked(wide, crop="centre"))
    assert crop_of(wide, "wide") == "64x48+64+0"


def test_pixels_and_weights_are_cut_at_one_place(wide):
    rgb = np.zeros((48, 192, 3), np.uint8)
    rgb[:, 170:186] = 200
    save(wide / "photos" / "wide.png", rgb)
    found = plan(wide, **masked(wide))
    [entry] = [entry for entry in found.entries if entry.item.media.stem == "wide"]
    pixels, _, mask = cache_sheet._picture(entry)
    assert ((pixels[..., 0] > 100)[20:] == (mask.weights_fHW[0] > 0)[20:]).all()


def test_a_cache_of_the_middle_is_encoded_again_where_the_window_differs_and_the_plan_says_so(wide, monkeypatch):
    build(wide, **masked(wide, crop="centre"))
    before, models = times(wide), ModelCounter(monkeypatch)
    found = plan(wide, **masked(wide))
    assert work(found)["wide.png"] == (Action.WRITE, "the crop follows the subject")
    assert work(found)["fits.png"][0] is Action.SKIP
    build(wide, **masked(wide))
    changed = [name for name, time in times(wide).items() if time != before[name]]
    assert (changed, models.loaded) == ([f"wide_0192x0048_{CACHE_SUFFIX}.safetensors"], ["load_latent_encoder"])


def test_a_cache_of_the_middle_is_kept_where_the_window_is_the_same(wide, monkeypatch):
    save(wide / "masks" / "wide.png", person(WIDE, 88))
    build(wide, **masked(wide, crop="centre"))
    models = ModelCounter(monkeypatch)
    build(wide, **masked(wide))
    assert models.loaded == []


def test_a_fresh_window_is_known_without_opening_a_mask(wide, monkeypatch):
    build(wide, **masked(wide))
    monkeypatch.setattr(mask_weights, "see", lambda *_, **__: pytest.fail("a mask was opened"))
    assert {action for action, _ in work(plan(wide, **masked(wide))).values()} == {Action.SKIP}


def test_a_retouched_mask_that_moves_no_window_needs_no_vae(wide, monkeypatch):
    build(wide, **masked(wide))
    retouched = person(WIDE, 170)
    retouched[40:, 170:174] = 0
    save(wide / "masks" / "wide.png", retouched)
    models = ModelCounter(monkeypatch)
    assert work(plan(wide, **masked(wide)))["wide.png"] == (Action.WRITE, "mask changed")
    build(wide, **masked(wide))
    assert models.loaded == []


def test_a_mask_that_moves_the_window_is_encoded(wide):
    build(wide, **masked(wide))
    save(wide / "masks" / "wide.png", person(WIDE, 2))
    assert work(plan(wide, **masked(wide)))["wide.png"] == (Action.WRITE, "the crop follows the subject")
    build(wide, **masked(wide))
    assert crop_of(wide, "wide") == "64x48+0+0"


def test_back_to_the_middle_is_encoded(wide):
    build(wide, **masked(wide))
    assert work(plan(wide, **masked(wide, crop="centre")))["wide.png"][1] == "the crop is in the middle"


def test_the_plan_counts_windows(wide):
    assert plan(wide, **masked(wide)).details["crops"] == {"in the middle": 1, "moved to the subject": 1}


def test_training_takes_a_window_that_follows_for_fresh(wide):
    build(wide, **masked(wide))
    settings = config(wide, **masked(wide))
    family = load_family(settings.model.arch).for_task("")
    cached = read_set(1, wide / "cache", family, batch_size=1, repeats=1)
    assert stale_warnings(settings, family, [cached]) == []
    [centre] = stale_warnings(config(wide, **masked(wide, crop="centre")), family, [cached])
    assert "changed since" in centre.what


def test_a_control_picture_of_the_same_shape_is_cut_at_the_same_place(wide):
    found = plan(wide, **masked(wide))
    [entry] = [entry for entry in found.entries if entry.item.media.stem == "wide"]
    assert entry.geometry.for_companion((384, 96)).crop_xy == entry.geometry.crop_xy
    assert entry.geometry.for_companion((100, 100)).crop_xy != entry.geometry.crop_xy


def test_one_window_serves_all_clips_of_a_video(tmp_path):
    video_folder(tmp_path, "clip")
    write_video(tmp_path / "videos" / "clip.avi", [random_rgb(WIDE, seed=number) for number in range(12)])
    for number in range(12):
        save(tmp_path / "masks" / "clip" / f"{number:06}.png", person(WIDE, 120 + 4 * number))
    found = plan(
        tmp_path,
        video_directory=tmp_path / "videos",
        target_frames=[5],
        frame_extraction="slide",
        mask_directory=tmp_path / "masks",
    )
    [window] = {entry.geometry.crop_xy for entry in found.entries}
    assert (len(found.entries), window) == (
        8,
        (24, 0),
    )  # 192 x 48 becomes 128 x 32, of which 96 columns are kept: all three heads with a cell beside them


def test_zooms_are_items_of_their_own(large):
    settings = masked(large, zoom=["face", "subject"])
    found = plan(large, **settings)
    assert found.details["crops"] == {"in the middle": 1, "zoom to the subject": 1, "zoom to the face": 1}
    build(large, **settings)
    assert sorted(entries(large)) == ["a", "a-face", "a-subject"]
    shares = {stem: float(entry.weights_1fhw.mean()) for stem, entry in entries(large).items()}
    assert shares["a"] < shares["a-subject"] < shares["a-face"]


def test_a_zoom_has_the_caption_of_its_template(large):
    settings = masked(large, zoom=["face"], trigger="ohwx", zoom_face_caption="a face of {trigger}, {caption}")
    assert sorted(text.caption for text in plan(large, **settings).texts) == [
        "a face of ohwx, ohwx at the beach",
        "ohwx at the beach",
    ]


def test_a_template_without_its_trigger_is_refused(large):
    with pytest.raises(UsageError, match=r"holds \{trigger\}, and there is no `trigger`"):
        plan(large, **masked(large, zoom=["face"], zoom_face_caption="{trigger}"))


def test_other_trainers_find_the_bucket_of_a_zoom_by_its_name(large):
    build(large, **masked(large, zoom=["face"]))
    [header] = [header for header in list_headers(large / "cache", CACHE_SUFFIX) if header.stem == "a-face"]
    width, height = (int(side) for side in header.path.name.split("_")[-2].split("x"))
    found = plan(large, **masked(large, zoom=["face"]))
    [entry] = [entry for entry in found.entries if entry.item.zoom]
    assert entry.dataset.buckets.fit((width, height)).size_wh == entry.geometry.size_wh
    assert (header.path.parent / f"a-face_{CACHE_SUFFIX}_te.safetensors").is_file()


def test_zooms_are_fresh_the_second_time_and_no_mask_is_opened(large, monkeypatch):
    settings = masked(large, zoom=["face", "subject"])
    build(large, **settings)
    monkeypatch.setattr(mask_weights, "see", lambda *_, **__: pytest.fail("a mask was opened"))
    assert {action for action, _ in work(plan(large, **settings)).values()} == {Action.SKIP}


def test_zooms_that_are_not_wanted_any_more_are_removed(large):
    build(large, **masked(large, zoom=["face"]))
    build(large, **masked(large))
    assert sorted(entries(large)) == ["a"]
    assert not (large / "cache" / f"a-face_{CACHE_SUFFIX}_te.safetensors").exists()


def test_latents_and_captions_of_zooms_can_be_cached_apart(large):
    settings = masked(large, zoom=["face"])
    build(large, cache={"text_only": True}, **settings)
    assert (large / "cache" / f"a-face_{CACHE_SUFFIX}_te.safetensors").is_file()
    build(large, cache={"latents_only": True}, **settings)
    assert (large / "cache" / f"a-face_{CACHE_SUFFIX}_te.safetensors").is_file()
    assert sorted(entries(large)) == ["a", "a-face"]


def test_each_process_of_a_job_array_plans_its_photos_with_their_zooms_and_captions(large):
    for name in "bcd":
        for folder, ending in (("photos", "png"), ("masks", "png"), ("photos", "txt")):
            shutil.copy(large / folder / f"a.{ending}", large / folder / f"{name}.{ending}")
    settings = masked(large, zoom=["face"])
    whole, *shares = (plan(large, **settings) for _ in range(3))
    for rank, share in enumerate(shares):
        share.keep_own(Processes(rank, 2, apart=True))
    assert [entry.item.zoom for entry in whole.entries] == [""] * 4 + ["face"] * 4
    for files_of in (
        lambda found: [entry.name for entry in found.entries],
        lambda found: [text.name for text in found.texts],
        lambda found: [item.key for item in found.items],
    ):
        first, second = map(files_of, shares)
        assert len(first) == len(second) == 4
        assert sorted(first + second) == sorted(files_of(whole))


@pytest.mark.parametrize("half", [{}, {"latents_only": True}, {"text_only": True}])
def test_a_photo_called_like_a_zoom_is_refused(large, half):
    save(large / "photos" / "a-face.png", random_rgb(LARGE))
    captions(large, ["a-face"])
    with pytest.raises(InputError, match="two items would share one cache file"):
        plan(large, cache=half, **masked(large, zoom=["face"]))


def test_captions_alone_keep_those_of_zooms_whose_mask_cannot_be_read_now(large):
    settings = masked(large, zoom=["face"])
    build(large, **settings)
    (large / "masks" / "a.png").write_bytes(b"half a mask")
    build(large, cache={"text_only": True}, **settings)
    assert (large / "cache" / f"a-face_{CACHE_SUFFIX}_te.safetensors").is_file()


def test_zooms_stand_on_the_sheet(large):
    found = plan(large, **masked(large, zoom=["face"]))
    cards = [cache_sheet._card(entry, 64, shorts={}) for entry in found.entries]
    assert [(card.name, card.caption) for card in cards] == [
        ("a.png", "ohwx at the beach"),
        ("a.png zoom face", "close-up of the face, ohwx at the beach"),
    ]


def test_training_does_not_miss_the_photos_of_zooms(large):
    settings = masked(large, zoom=["face"])
    build(large, **settings)
    family = load_family(config(large).model.arch).for_task("")
    cached = read_set(1, large / "cache", family, batch_size=1, repeats=1)
    assert stale_warnings(config(large, **settings), family, [cached]) == []


def test_a_face_of_few_cells_is_named_with_the_zoom_that_mends_it(large):
    save(large / "masks" / "a.png", person(LARGE, 300, head=30, width=60))
    found = plan(large, **masked(large, resolution=[256, 192]))
    [problem] = [problem for problem in found.warnings if "latent cells" in problem.what]
    assert (problem.where, 'zoom = ["face"]' in problem.fix) == ((f"{large / 'photos' / 'a.png'}: 3",), True)
    assert "latent cells" not in told(plan(large, **masked(large, resolution=[256, 192], zoom=["face"])))


def test_a_face_that_no_zoom_helps_is_named_with_the_resolution_that_does(large):
    save(large / "masks" / "a.png", person(LARGE, 300, head=30, width=60))
    found = plan(large, **masked(large, resolution=[448, 336]))
    [problem] = [problem for problem in found.warnings if "latent cells" in problem.what]
    assert problem.fix == "set `resolution = [512, 384]` or more"


def test_faces_that_take_several_resolutions_are_one_remark_with_the_largest(large):
    save(large / "photos" / "b.png", random_rgb(LARGE))
    captions(large, ["b"])
    save(large / "masks" / "a.png", person(LARGE, 300, head=30, width=60))
    save(large / "masks" / "b.png", person(LARGE, 300, head=30, width=56))
    found = plan(large, **masked(large, resolution=[448, 336]))
    [problem] = [problem for problem in found.warnings if "latent cells" in problem.what]
    assert (len(problem.where), problem.fix) == (2, "set `resolution = [560, 416]` or more")


def test_a_face_of_few_pixels_is_named_as_such(large):
    [problem] = [problem for problem in plan(large, **masked(large)).warnings if "latent cells" in problem.what]
    assert problem.fix.startswith("use larger originals")


def test_a_head_that_the_crop_cuts_is_named(wide):
    save(wide / "masks" / "wide.png", person(WIDE, 40, width=100))
    assert "whose crop cuts the subject's head" in told(plan(wide, **masked(wide)))


def test_captions_alone_are_cached_without_a_word_about_masks(large):
    found = plan(large, **masked(large), zoom=["face"], cache={"text_only": True})
    assert not [problem for problem in found.warnings if "needs masks" in problem.what]


def test_a_caption_that_cannot_be_read_costs_its_photo_and_not_the_plan(large):
    shutil.copy(large / "photos" / "a.png", large / "photos" / "b.png")
    shutil.copy(large / "masks" / "a.png", large / "masks" / "b.png")
    (large / "photos" / "b.txt").write_bytes(b"\xff\xfe\xff")
    found = plan(large, **masked(large), zoom=["face"])
    assert [item.key.rpartition("/")[2] for item in found.items if item.action is Action.FAIL] == ["b.png"]
    assert [text.name for text in found.texts] == [f"{stem}_{CACHE_SUFFIX}_te.safetensors" for stem in ("a", "a-face")]


def test_faces_of_few_cells_are_told_by_why_each_under_its_own_sentence(large):
    save(large / "photos" / "b.png", random_rgb(LARGE))
    captions(large, ["b"])
    save(large / "masks" / "b.png", person(LARGE, 300, head=30, width=60))
    found = plan(large, **masked(large, resolution=[256, 192]))
    told_of = {problem.what: problem.where for problem in found.warnings if "latent cells" in problem.what}
    assert list(told_of.values()) == [
        (f"{large / 'photos' / name}: {cells}",) for name, cells in (("a.png", 2), ("b.png", 3))
    ]
