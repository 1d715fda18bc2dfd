"""What goes wrong ends in a clear message and the right exit code, with finished work kept; what is typed as in the README works."""

import json

import pytest

from blissmask.storage.lock import writing_to
from tests.builders.command import run_blissmask, run_here
from tests.builders.families import CACHE_SUFFIX, TWO_EXPERTS
from tests.builders.pictures import mask_folder, photo_folder

CONFIG = """
[general]
resolution = 64
caption_extension = ".txt"
[[datasets]]
image_directory = "photos"
mask_directory = "masks"
cache_directory = "cache"
require_mask = true
[model]
model = "tiny"
"""


@pytest.fixture
def folder(tmp_path):
    """Two photos with masks and captions, and a `blissmask.toml`."""
    photo_folder(tmp_path / "photos", ["one.png", "two.png"], size_wh=(64, 64))
    mask_folder(tmp_path / "masks", ["one.png", "two.png"], size_wh=(64, 64))
    for name in ("one", "two"):
        (tmp_path / "photos" / f"{name}.txt").write_text("a person")
    (tmp_path / "blissmask.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.slow
def test_three_lines_work_as_typed(folder, warm_python):
    def blissmask(*arguments):
        return run_blissmask(*arguments, cwd=folder, python=warm_python)

    (folder / "ds.toml").write_text(CONFIG)
    cached = blissmask("cache", "--config", "ds.toml", "--arch", TWO_EXPERTS)
    assert cached.code == 0, cached.err
    (folder / "blissmask.toml").write_text(CONFIG + "[train]\nmax_train_steps = 2\n")
    trained = blissmask("train", "--use-mask-loss", "--mask-gamma", "0.7")
    assert trained.code == 0, trained.err
    assert list((folder / "out").glob("*.safetensors"))
    planned = blissmask("to-alpha", "--dry-run")
    assert planned.code == 0, planned.err
    assert "Would write 2" in planned.out


def test_wrong_key_is_told_with_the_nearest_and_exits_2(folder, blissmask):
    (folder / "blissmask.toml").write_text(CONFIG.replace("mask_directory", "mask_dir"))
    ran = blissmask("cache", "--arch", TWO_EXPERTS)
    assert ran.code == 2
    assert "[[datasets]] 1: unknown key `mask_dir`, did you mean `mask_directory`?" in ran.err


def test_missing_required_mask_names_all_of_them_and_exits_1(folder, blissmask):
    for name in ("one", "two"):
        (folder / "masks" / f"{name}.png").unlink()
    mask_folder(folder / "masks", ["other.png"])
    ran = blissmask("cache", "--arch", TWO_EXPERTS)
    assert ran.code == 1
    assert "require_mask=true but no mask found for" in ran.err
    assert "photos/one.png" in ran.err
    assert "photos/two.png" in ran.err


@pytest.mark.slow
def test_corrupt_photo_costs_one_item_and_exits_3(folder):
    (folder / "photos" / "one.png").write_bytes((folder / "photos" / "one.png").read_bytes()[:300])
    ran = run_here(f"blissmask cache --arch {TWO_EXPERTS} --json", folder)
    assert ran.code == 3
    document = json.loads(ran.out)
    assert document["written"] == 1
    assert [failed["item"] for failed in document["failed"]] == ["photos/one.png"]
    assert list((folder / "cache").glob(f"two_*_{CACHE_SUFFIX}.safetensors"))


def test_busy_folder_says_who_writes_and_exits_4(folder, blissmask):
    with writing_to([folder / "rgba"], command="blissmask something"):
        ran = blissmask("to-alpha", "--output-directory", "rgba")
    assert ran.code == 4
    assert "another blissmask is writing to" in ran.err
    assert "`blissmask something`" in ran.err


@pytest.mark.slow
def test_cache_without_masks_is_fatal_before_the_first_step(folder):
    (folder / "blissmask.toml").write_text(
        CONFIG.replace('mask_directory = "masks"\n', "").replace("require_mask = true\n", "")
    )
    assert run_here(f"blissmask cache --arch {TWO_EXPERTS}", folder).code == 0
    ran = run_here("blissmask train --use-mask-loss", folder)
    assert ran.code == 1
    assert "FATAL: --use_mask_loss is enabled but batch has no mask_weights!" in ran.err
    assert not list(folder.glob("out/*.safetensors"))
