"""Data sets that show several subjects: the mask of an item is the maximum of theirs, and it has region shares of each."""

import json

import numpy as np
import pytest
import torch

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_metadata
from blissmask.cachefile.read_headers import list_headers
from blissmask.errors import UsageError
from blissmask.families.registry import load_family
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train.data.stale import stale_warnings
from blissmask.training.data.cached_set import read_set
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.weighting.rule import WeightRule
from tests.builders.cache import (
    FRAMES,
    build,
    captions,
    config,
    entries,
    frame_names,
    metadata,
    on_videos,
    plan,
    video_folder,
)
from tests.builders.families import NAMES, family_of
from tests.builders.pictures import random_rgb, save, tree

SIZE_WH = (64, 48)
KYLA = np.zeros((48, 64), np.uint8)
KYLA[8:16, 8:16], KYLA[16:40, 8:24] = 255, 128
TOM = np.zeros((48, 64), np.uint8)
TOM[8:16, 40:48], TOM[16:40, 16:48] = 255, 128
NOBODY = np.zeros((48, 64), np.uint8)
PEOPLE = ["kyla", "tom"]


def mask(folder, name, photo, values_HW):
    save(folder / "masks" / name / f"{photo}.png", values_HW)


@pytest.fixture
def photos(tmp_path):
    """Return a folder with a photo of both, one in which tom was not found, and one for which he has no mask file."""
    for name in ("both", "unfound", "lacking"):
        save(tmp_path / "photos" / f"{name}.png", random_rgb(SIZE_WH))
        mask(tmp_path, "kyla", name, KYLA)
    mask(tmp_path, "tom", "both", TOM)
    mask(tmp_path, "tom", "unfound", NOBODY)
    captions(tmp_path, ["both", "unfound", "lacking"])
    return tmp_path


def together(folder, **settings):
    return {"subject": PEOPLE, "mask_directory": folder / "masks", **settings}


def alone(folder, name):
    """Return the entries of the same photos with the masks of one subject."""
    build(folder, subject=name, mask_directory=folder / "masks" / name, cache_directory=folder / name / "cache")
    return entries(folder / name)


def stale(folder):
    """Return what training says has changed since it was cached."""
    settings = config(folder, **together(folder))
    family = load_family(settings.model.arch).for_task("")
    told = stale_warnings(settings, family, [read_set(1, folder / "cache", family, batch_size=1, repeats=1)])
    return [place for problem in told for place in problem.where]


def redone(found):
    return {item.key.rpartition("/")[2]: item.reason for item in found.having(Action.WRITE)}


def test_the_mask_is_the_maximum_and_each_has_the_regions_of_the_own_mask(photos):
    summary = build(photos, **together(photos))
    found = entries(photos)
    kyla, tom = alone(photos, "kyla"), alone(photos, "tom")
    # Hard masks of whole cells: a cell has the larger weight of the two.
    assert torch.equal(found["both"].weights_1fhw, torch.maximum(kyla["both"].weights_1fhw, tom["both"].weights_1fhw))
    assert torch.equal(found["both"].subjects_Qfhw, torch.cat([kyla["both"].regions_4fhw, tom["both"].regions_4fhw]))
    # Who is in none of its pixels has no regions at all, also no background.
    for name in ("unfound", "lacking"):
        assert torch.equal(found[name].weights_1fhw, kyla["both"].weights_1fhw)
        assert torch.equal(found[name].subjects_Qfhw[:4], kyla["both"].regions_4fhw)
        assert not found[name].subjects_Qfhw[4:].any()
    assert metadata(photos, "lacking")["blissmask.subjects"] == '{"kyla": true, "tom": false}'
    [told] = [problem for problem in summary.warnings if "several subjects" in problem.what]
    assert told.what == "1 item without a mask of one of several subjects, who counts as not being there"
    assert told.where == (f"{photos / 'photos' / 'lacking.png'}: none of tom",)


def test_a_changed_mask_of_either_makes_that_item_alone_stale(photos):
    settings = together(photos)
    build(photos, **settings)
    assert redone(plan(photos, **settings)) == {}
    assert stale(photos) == []
    mask(photos, "tom", "both", np.roll(TOM, -8, axis=1))
    assert redone(plan(photos, **settings)) == {"both.png": "mask changed"}
    assert stale(photos) == [f"{photos / 'photos' / 'both.png'}: mask changed"]
    assert build(photos, **settings).written == 1
    assert torch.equal(entries(photos)["both"].subjects_Qfhw[4:], alone(photos, "tom")["both"].regions_4fhw)


def test_a_mask_that_becomes_another_subjects_is_stale_though_the_file_is_the_same(photos):
    settings = together(photos)
    build(photos, **settings)
    (photos / "masks" / "kyla" / "lacking.png").rename(photos / "masks" / "tom" / "lacking.png")
    assert redone(plan(photos, **settings)) == {"lacking.png": "subjects changed"}
    assert stale(photos) == [f"{photos / 'photos' / 'lacking.png'}: mask changed"]
    assert redone(plan(photos, **together(photos, subject=["tom", "kyla"]))).keys() == {
        "both.png",
        "unfound.png",
        "lacking.png",
    }


def test_one_subject_in_a_list_is_cached_as_one_by_name(photos):
    folder = photos / "masks" / "kyla"
    for name, subject in (("text", "kyla"), ("list", ["kyla"])):
        build(photos, subject=subject, mask_directory=folder, cache_directory=photos / name)
    assert tree(photos / "text") == tree(photos / "list")
    assert "blissmask.subjects" not in read_metadata(next((photos / "text").glob("both_*.safetensors")))


def test_a_clip_has_the_frames_of_one_and_the_still_mask_of_the_other(tmp_path):
    video_folder(tmp_path, "clip")
    for number, name in enumerate(frame_names(FRAMES)):
        save(tmp_path / "masks" / "kyla" / "clip" / name, np.roll(KYLA, 8 * (number > 0), axis=1))
    mask(tmp_path, "tom", "clip", TOM)
    build(tmp_path, **on_videos(tmp_path, **together(tmp_path)))
    entry = entries(tmp_path)["clip"]
    first, later = entry.weights_1fhw[0]
    assert first[1].tolist() == [0, 1, 0, 0, 0, 1, 0, 0]
    assert later[1].tolist() == [0, 0, 1, 0, 0, 1, 0, 0]
    kyla, tom = entry.subjects_Qfhw.split(4)
    assert [face[1].argmax().item() for face in (*kyla[0], *tom[0])] == [1, 2, 5, 5]


def test_masks_of_other_values_leave_nothing_to_tell_subjects_apart(photos):
    mask(photos, "tom", "both", TOM // 2)
    build(photos, **together(photos))
    assert entries(photos)["both"].subjects_Qfhw is None
    assert entries(photos)["unfound"].subjects_Qfhw is not None


def test_masks_of_different_sizes_are_refused_by_name(photos):
    mask(photos, "tom", "both", np.zeros((96, 128), np.uint8))
    [item] = plan(photos, **together(photos)).having(Action.FAIL)
    assert item.reason == "the masks of the subjects have different sizes"


def test_a_list_that_names_one_mask_does_not_go_with_several_subjects(photos):
    line = {"image_path": str(photos / "photos" / "both.png"), "caption": "", "mask_path": "masks/kyla/both.png"}
    (photos / "list.jsonl").write_text(json.dumps(line))
    with pytest.raises(UsageError, match="each with masks of its own"):
        plan(photos, **together(photos, image_jsonl_file=photos / "list.jsonl"))


def test_where_cells_have_parts_the_regions_of_each_lie_on_the_parts(photos):
    """A mask of cells of 8 pixels; the family's are of 16, in parts of 8."""
    name = next(name for name in NAMES if family_of(name).latent.subcells > 1)
    build(photos, **together(photos, arch=name))
    found = {header.stem: header for header in list_headers(photos / "cache", family_of(name).cache_suffix)}
    rule = WeightRule(gamma=1.0, min_weight=0.0)
    both, unfound = (
        make_item(found[stem], load_entry(found[stem]), rule=rule, prior=None, subjects=("kyla", "tom"))
        for stem in ("both", "unfound")
    )
    kyla, tom = both.regions_of("kyla"), both.regions_of("tom")
    assert kyla[0, 0].nonzero().tolist() == [[1, 1]]
    assert tom[0, 0].nonzero().tolist() == [[1, 5]]
    assert torch.equal(both.weights_1fhw > 0, (kyla[:3].sum(0) + tom[:3].sum(0) > 0)[None])
    batch = collate([both, unfound], 0)
    assert torch.equal(batch.regions_of("tom"), torch.stack([tom, 0 * tom]))
    assert batch.regions_of("kyla").shape == batch.regions_B4FHW.shape


def test_photos_without_one_of_several_subjects_are_no_fault(photos):
    tom = {"subject": "tom", "mask_directory": photos / "masks" / "tom"}
    (told,) = (problem for problem in plan(photos, **tom).warnings if "empty" in problem.what)
    assert told.what == "`tom` is not in 1 item: the mask is empty"
    assert told.where == (str(photos / "masks" / "tom" / "unfound.png"),)
    assert "--empty-mask" not in told.fix
    (untriggered,) = (problem for problem in plan(photos, **tom).warnings if "without the trigger" in problem.what)
    assert str(photos / "photos" / "unfound.txt") not in untriggered.where
    assert str(photos / "photos" / "both.txt") in untriggered.where


def test_a_caption_that_names_none_of_the_subjects_is_told(photos):
    for name, text in (("both", "{kyla} and {tom}"), ("unfound", "tomwx at the sea"), ("lacking", "two people")):
        (photos / "photos" / f"{name}.txt").write_text(text)
    found = plan(photos, **together(photos))
    [told] = [problem for problem in found.warnings if "without the trigger" in problem.what]
    assert told.where == (str(photos / "photos" / "lacking.txt"),)
    assert {text.item.media.stem: text.caption for text in found.texts}["both"] == "kylawx and tomwx"
