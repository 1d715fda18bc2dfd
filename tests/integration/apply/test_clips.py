"""`apply` on clips, and what of its settings makes a mask stale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blissmask.dataset.discover import match_live_photos, match_masks
from blissmask.media.mask_picture import read_grey
from blissmask.media.png import write_png_grey
from blissmask.tasks.apply.plan import ApplyPlan, plan
from blissmask.tasks.apply.run import run
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action, RunContext
from tests.builders.apply import apply, config, reasons
from tests.builders.pictures import half_mask, mask_folder, save, tier_mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photo, and a clip of two frames with subject masks."""
    mask_folder(tmp_path / "weighted", ["a.png", "clip/000000.png", "clip/000001.png"])
    for name in ("a.png", "clip/000000.png", "clip/000001.png"):
        save(tmp_path / "instance" / name, half_mask(share=0.25))
    return tmp_path


def empty_clip(folder: Path) -> ApplyPlan:
    for path in (folder / "weighted" / "clip").iterdir():
        path.unlink()
    return plan(config(folder))


def test_clip_without_weighted_frames_fails_and_is_named(folder: Path) -> None:
    made = empty_clip(folder)
    assert reasons(made)["clip"] == (Action.FAIL, "the clip's folder of weighted masks holds no frames")
    summary = run(made, RunContext())
    assert ([failure.key for failure in summary.failures], summary.written, summary.exit_code) == (["clip"], 1, 3)


def test_empty_folder_that_may_not_be_a_clip_is_named(folder: Path) -> None:
    (folder / "weighted" / "old").mkdir()
    made = plan(config(folder))
    assert [problem.where for problem in made.warnings] == [(str(folder / "weighted" / "old"),)]
    assert made.warnings[0].what == "1 folder among the weighted masks without a mask in it"


def test_jpeg_frame_is_doubted_like_a_still(folder: Path) -> None:
    (folder / "weighted" / "clip" / "000001.png").unlink()
    save(folder / "weighted" / "clip" / "000001.jpg", tier_mask())
    problem = next(problem for problem in apply(folder).warnings if "may not hold what was meant" in problem.what)
    assert problem.where == (f"{folder / 'weighted' / 'clip' / '000001.jpg'}: JPEG compression changes mask values",)


def test_what_becomes_of_missing_masks_redoes_only_those(folder: Path) -> None:
    (folder / "instance" / "a.png").unlink()
    apply(folder, missing="zero")
    made = reasons(plan(config(folder, missing="copy")))
    assert made["a"] == (Action.WRITE, "48x32, no subject mask: copied with all bystanders, missing changed")
    assert made["clip/000000"] == made["clip/000001"] == (Action.SKIP, FRESH)


def test_growing_redoes_nothing_where_there_is_no_subject_mask(folder: Path) -> None:
    (folder / "instance" / "a.png").unlink()
    apply(folder, missing="zero")
    assert reasons(plan(config(folder, missing="zero", grow=2)))["a"] == (Action.SKIP, FRESH)


def test_folder_with_the_name_of_the_output_fails_that_mask_only(folder: Path) -> None:
    (folder / "out" / "a.png").mkdir(parents=True)
    summary = apply(folder, force=True)
    assert ([failure.key for failure in summary.failures], summary.written) == (["a"], 2)


@pytest.mark.parametrize("now", ["frames", "static"])
def test_masks_of_an_earlier_form_are_named(folder: Path, now: str) -> None:
    other = folder / "out" / ("clip.png" if now == "frames" else "clip")
    if now == "frames":
        save(other, tier_mask())
    else:
        save(other / "000000.png", tier_mask())
        for side in ("weighted", "instance"):
            for path in (folder / side / "clip").iterdir():
                path.unlink()
            (folder / side / "clip").rmdir()
            save(folder / side / "clip.png", np.full((32, 48), 255, dtype=np.uint8))
    problem = next(problem for problem in plan(config(folder)).warnings if "both forms" in problem.what)
    assert problem.where == (str(other),)
    apply(folder)
    assert read_grey(other if now == "frames" else other / "000000.png").any()


def test_photo_and_clip_of_a_live_photo_are_both_cut_to_the_subject(folder: Path) -> None:
    for kind in ("weighted", "instance"):
        mask = tier_mask() if kind == "weighted" else half_mask(share=0.25)
        write_png_grey(folder / kind / "clip.png", mask, note={"inputs": [{"name": "clip.HEIC"}]})
    made = plan(config(folder))
    assert made.warnings == []
    assert set(reasons(made)) == {"a", "clip", "clip/000000", "clip/000001"}
    assert run(made, RunContext()).failures == []
    assert match_live_photos(folder / "out") == {"clip": folder / "out" / "clip.png"}
    assert match_masks(folder / "out", videos=True)["clip"] == folder / "out" / "clip"
