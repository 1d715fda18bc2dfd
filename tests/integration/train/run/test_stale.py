"""`train` says when its cache no longer is what the configuration and the folders ask for."""

import dataclasses

import pytest

from blissmask.tasks.train.data.stale import stale_warnings
from blissmask.tasks.train.data.training_data import read_sets
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.cache import build, captions, config
from tests.builders.families import CACHE_SUFFIX, TWO_EXPERTS, family_of
from tests.builders.pictures import mask_folder, photo_folder
from tests.builders.training import run, write_entry

SIZE_WH = (96, 64)


@pytest.fixture
def folder(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks", ["a.png", "b.png"], size_wh=SIZE_WH)
    captions(tmp_path, ["a", "b"])
    build(tmp_path, mask_directory=tmp_path / "masks")
    return tmp_path


def told(folder, **dataset):
    made = config(folder, mask_directory=folder / "masks", **dataset)
    made = made.model_copy(update={"saving": made.saving.model_copy(update={"output_dir": folder / "out"})})
    return {problem.what: problem.where for problem in plan_training(made).warnings if "mask" not in problem.what}


def test_what_was_trained_as_it_was_cached_is_told_again_at_the_end_and_on_the_page(folder):
    captions(folder, ["a"], "another caption")
    made = config(folder, mask_directory=folder / "masks")
    saving = made.saving.model_copy(update={"output_dir": folder / "out", "output_name": "kyla"})
    train = made.train.model_copy(update={"max_train_steps": 1})
    summary, _ = run(made.model_copy(update={"saving": saving, "train": train}))
    said = "1 item changed since it was cached; the old version is trained"
    [told_again] = summary.told_again
    assert told_again.what == said
    [page] = (folder / "out").glob("*.html")
    assert f"<p>{said}</p>" in page.read_text()
    assert "photos/a.png: caption changed" in page.read_text()


def test_what_is_the_same_of_two_data_sets_of_the_same_photos_is_told_once(folder):
    made = config(folder, mask_directory=folder / "masks")
    twice = made.model_copy(update={"datasets": made.datasets * 2})
    captions(folder, ["a"], "another caption")
    family = family_of(TWO_EXPERTS)
    [cached] = read_sets(made, (folder / "cache",), family)
    [told_once] = stale_warnings(twice, family, [cached, dataclasses.replace(cached, number=2)])
    assert told_once.where == (f"{folder / 'photos' / 'a.png'}: caption changed",)


def test_a_fresh_cache_is_not_doubted(folder):
    assert told(folder) == {}


def test_entries_of_photos_that_are_gone_are_named(folder):
    for path in ("photos/b.png", "photos/b.txt", "masks/b.png"):
        (folder / path).unlink()
    [(what, where)] = told(folder).items()
    assert what == "1 cache entry of photos or videos that are gone is trained"
    assert where == (str(folder / "cache" / f"b_0096x0064_{CACHE_SUFFIX}.safetensors"),)


def test_another_resolution_without_a_new_cache_is_named(folder):
    [(what, where)] = told(folder, resolution=[80, 48]).items()
    assert what == "2 items changed since they were cached; the old version is trained"
    assert where == tuple(f"{folder / 'photos' / name}.png: another training size" for name in "ab")


def test_entries_of_other_tools_are_not_taken_for_left_over(folder):
    write_entry(folder / "cache", "elsewhere", shape=(16, 1, 6, 8))
    assert told(folder) == {}


def test_what_cannot_be_read_is_told_apart_and_no_second_cache_is_said_to_mend_it(folder):
    captions(folder, ["b"], "another caption")
    (folder / "photos" / "a.txt").write_bytes(b"caf\xe9")
    made = config(folder, mask_directory=folder / "masks")
    family = family_of(TWO_EXPERTS)
    changed, unreadable = stale_warnings(made, family, read_sets(made, (folder / "cache",), family))
    assert changed.where == (f"{folder / 'photos' / 'b.png'}: caption changed",)
    assert unreadable.what == "1 item with a file that cannot be read any more; what was cached is trained"
    assert unreadable.where == (f"{folder / 'photos' / 'a.txt'}: the caption is not UTF-8 text",)
    assert str(unreadable.fix).startswith("mend the files")
