"""Promise 20: whichever input changes, exactly that item is cached anew, and `train` warns before that is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.families import CACHE_SUFFIX, PLAIN
from tests.builders.pictures import half_mask, random_rgb, save
from tests.faults.forks import Forks
from tests.faults.scenes import SCENES, results

SIZE_WH = (480, 320)
CONFIG = f"""
[[datasets]]
image_directory = "photos"
mask_directory = "masks"
cache_directory = "out"
resolution = 128
caption_extension = ".txt"
[model]
arch = "{PLAIN}"
model = "tiny"
[train]
max_train_steps = 1

[saving]
output_dir = "trained"
"""


def photo(folder: Path) -> None:
    save(folder / "photos" / "two.png", random_rgb(SIZE_WH, seed=99))


def mask(folder: Path) -> None:
    save(folder / "masks" / "two.png", half_mask(SIZE_WH))


def mask_removed(folder: Path) -> None:
    (folder / "masks" / "two.png").unlink()


def caption(folder: Path) -> None:
    (folder / "photos" / "two.txt").write_text("another person")


# What is changed, which files of the cache it makes anew, and what `train` says of it.
CHANGES: dict[str, tuple[Callable[[Path], None], set[str], str]] = {
    "photo": (photo, {f"two_0480x0320_{CACHE_SUFFIX}.safetensors"}, "photos/two.png: photo or video changed"),
    "mask": (mask, {f"two_0480x0320_{CACHE_SUFFIX}.safetensors"}, "photos/two.png: mask changed"),
    "mask removed": (mask_removed, {f"two_0480x0320_{CACHE_SUFFIX}.safetensors"}, "photos/two.png: mask changed"),
    "caption": (caption, {f"two_{CACHE_SUFFIX}_te.safetensors"}, "photos/two.png: caption changed"),
}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


@pytest.fixture
def cached(tmp_path: Path, forks: Forks) -> Path:
    SCENES["cache"](tmp_path)
    (tmp_path / "blissmask.toml").write_text(CONFIG)
    assert forks.run(tmp_path, "cache").code == 0
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_input_is_cached_anew_alone_and_train_warns(cached: Path, forks: Forks, change: str) -> None:
    make, expected, warned = CHANGES[change]
    assert "changed since" not in forks.run(cached, "train", "--dry-run").err
    make(cached)
    before = times(cached / "out")
    told = forks.run(cached, "train", "--dry-run")
    assert told.code == 0, told.err
    assert "1 item changed since it was cached" in told.err
    assert warned in told.err
    assert json.loads(forks.run(cached, "cache", "--json").out)["written"] == 1
    after = times(cached / "out")
    assert {name for name in after if after[name] != before.get(name)} == expected
    assert "changed since" not in forks.run(cached, "train", "--dry-run").err


@pytest.mark.slow
def test_train_names_a_photo_that_was_never_cached(cached: Path, forks: Forks) -> None:
    save(cached / "photos" / "five.png", random_rgb(SIZE_WH))
    told = forks.run(cached, "train", "--dry-run").err
    assert "1 item is not in the cache and will not be trained" in told
    assert "photos/five.png" in told


@pytest.mark.slow
@pytest.mark.parametrize("settings", [("--vae-dtype", "bfloat16"), ("--resolution", "64")])
def test_a_changed_setting_makes_every_item_anew(cached: Path, forks: Forks, settings: tuple[str, ...]) -> None:
    summary = json.loads(forks.run(cached, "cache", *settings, "--json").out)
    assert (summary["written"], summary["skipped"]) == (4, 0)


@pytest.mark.slow
def test_a_cache_without_its_photos_is_trained_without_a_word(cached: Path, forks: Forks) -> None:
    whole = results(cached / "out")
    for folder in ("photos", "masks"):
        (cached / folder).rename(cached / f"{folder} on another machine")
    ended = forks.run(cached, "train", "--dry-run")
    assert ended.code == 0, ended.err
    assert "changed since" not in ended.err
    assert "not in the cache" not in ended.err
    assert results(cached / "out") == whole
