"""What `--retouch` shows, and when it refuses to start."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from blissmask.cli.commands import MASKS
from blissmask.config.model import Config
from blissmask.errors import MissingPackageError, UsageError
from blissmask.tasks.masks import retouch
from blissmask.tasks.retouch.retouching import page_title
from blissmask.tasks.run.plan import Action
from tests.builders.masks import clip, config, two_photos
from tests.builders.pictures import mask_folder


def test_photos_are_shown_with_or_without_a_mask_and_videos_are_named(tmp_path: Path) -> None:
    clip(two_photos(tmp_path))
    (tmp_path / "photos" / "c.png").write_bytes(b"no picture")
    mask_folder(tmp_path / "masks", ["a.png"])
    made = retouch.plan(config(tmp_path))
    assert [(item.key, item.action) for item in made.items] == [
        ("a", Action.SKIP),
        ("b", Action.SKIP),
        ("c", Action.FAIL),
    ]
    assert [item.reason for item in made.items[:2]] == ["to be shown", "to be shown, there is no mask yet"]
    assert [warning.what for warning in made.warnings] == ["1 video not shown: masks of photos are retouched"]
    assert page_title("Masks", len(made.items), videos=made.videos) == "Masks, 3 items; masks of 1 video are not shown"


def test_a_switch_that_is_off_leaves_the_command_as_it_is(tmp_path: Path) -> None:
    assert MASKS.task_for(config(tmp_path)) == MASKS.task
    assert MASKS.task_for(config(tmp_path, retouch=True)).run == "blissmask.tasks.masks.retouch"


def test_it_says_which_packages_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else genuine(name))
    with pytest.raises(MissingPackageError, match="needs `uvicorn`"):
        retouch.plan(config(two_photos(tmp_path)))


@pytest.mark.parametrize("option", ["explain", "quiet"])
def test_options_that_do_not_go_with_it_are_refused(tmp_path: Path, option: str) -> None:
    given = {"masks": {"input": tmp_path, "output": tmp_path / "masks", "explain": option == "explain"}}
    with pytest.raises(UsageError, match=f"`--{option}`"):
        retouch.plan(Config.model_validate({**given, "run": {"quiet": option == "quiet"}}))
