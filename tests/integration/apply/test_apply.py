"""`apply`: bystanders get weight 0, and nothing that matters happens in silence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from blissmask.config.model import Config
from blissmask.errors import InputError, MaskError, UsageError
from blissmask.media.mask_picture import read_grey
from blissmask.tasks.apply.plan import plan
from blissmask.tasks.apply.run import run
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action, Kept, RunContext
from tests.builders.apply import apply, config, reasons
from tests.builders.pictures import half_mask, mask_folder, save, tier_mask, tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mask_folder(tmp_path / "weighted", ["a.png", "b.png"])
    for name in ("a.png", "b.png"):
        save(tmp_path / "instance" / name, half_mask(share=0.25))
    return tmp_path


def test_everything_outside_the_subject_becomes_0(folder: Path) -> None:
    summary = apply(folder)
    assert summary.written == 2
    assert (read_grey(folder / "out" / "a.png") == np.where(half_mask(share=0.25) > 0, tier_mask(), 0)).all()


def test_weight_removed_is_told_per_photo(folder: Path) -> None:
    summary = apply(folder)
    assert summary.details["weights"]["a"]["removed"] == 0.5
    assert summary.tables[0].rows[0][:2] == ("a", "50.0%")


def test_subject_mask_of_another_size_is_fitted_with_nearest(folder: Path) -> None:
    save(folder / "instance" / "a.png", half_mask((24, 16), share=0.25))
    assert reasons(plan(config(folder)))["a"] == (Action.WRITE, "48x32, subject mask resized from 24x16")
    apply(folder)
    assert (read_grey(folder / "out" / "a.png") == np.where(half_mask(share=0.25) > 0, tier_mask(), 0)).all()


def test_other_aspect_fails_that_item_and_names_both_sizes(folder: Path) -> None:
    save(folder / "instance" / "a.png", half_mask((48, 40)))
    action, reason = reasons(plan(config(folder)))["a"]
    assert action is Action.FAIL
    assert reason == "aspect ratio differs by 25.0% (limit 1%): weighted mask 48x32, subject mask 48x40"
    summary = apply(folder)
    assert (summary.written, [failure.key for failure in summary.failures], summary.exit_code) == (1, ["a"], 3)


def test_growing_widens_the_subject(folder: Path) -> None:
    apply(folder, grow=3)
    assert (read_grey(folder / "out" / "a.png")[:, :15] == tier_mask()[:, :15]).all()
    assert not read_grey(folder / "out" / "a.png")[:, 15:].any()


def test_missing_subject_mask_stops_everything_by_default(folder: Path) -> None:
    (folder / "instance" / "b.png").unlink()
    made = plan(config(folder))
    assert reasons(made)["b"] == (Action.FAIL, "no subject mask")
    with pytest.raises(MaskError, match="no subject mask for 1 weighted mask") as caught:
        run(made, RunContext())
    assert caught.value.problems[0].where == (str(folder / "weighted" / "b.png"),)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(("policy", "expected"), [("zero", np.zeros_like(tier_mask())), ("copy", tier_mask())])
def test_missing_subject_mask_is_zero_or_a_copy_when_asked_for(folder: Path, policy: str, expected: np.ndarray) -> None:
    (folder / "instance" / "b.png").unlink()
    apply(folder, missing=policy)
    assert (read_grey(folder / "out" / "b.png") == expected).all()


def test_copying_bystanders_is_warned_of_before_work_starts(folder: Path) -> None:
    (folder / "instance" / "b.png").unlink()
    assert any("every bystander stays" in problem.what for problem in plan(config(folder, missing="copy")).warnings)


def test_missing_subject_mask_is_left_out_when_asked_for(folder: Path) -> None:
    (folder / "instance" / "b.png").unlink()
    summary = apply(folder, missing="skip")
    assert (summary.written, summary.skipped) == (1, 1)
    assert not (folder / "out" / "b.png").exists()


def test_emptied_masks_are_named(folder: Path) -> None:
    save(folder / "instance" / "b.png", np.zeros((32, 48), dtype=np.uint8))
    summary = apply(folder)
    assert summary.details["emptied"] == ["b"]
    assert any("came out empty" in problem.what and problem.where == ("b",) for problem in summary.warnings)


def test_photos_without_one_of_several_subjects_are_no_fault(folder: Path) -> None:
    save(folder / "instance" / "b.png", np.zeros((32, 48), dtype=np.uint8))
    known = config(folder).model_dump() | {"subjects": [{"name": "out", "trigger": "sks", "references": ["tom.jpg"]}]}
    (told,) = run(plan(Config.model_validate(known)), RunContext()).warnings
    assert (told.what, told.where) == ("`out` is not in 1 item: the mask is empty", ("b",))


def test_subject_mask_without_a_weighted_one_is_named(folder: Path) -> None:
    save(folder / "instance" / "z.png", half_mask())
    problem = next(problem for problem in plan(config(folder)).warnings if "without a weighted mask" in problem.what)
    assert problem.where == (str(folder / "instance" / "z.png"),)


def test_second_run_writes_nothing(folder: Path) -> None:
    apply(folder)
    before = tree(folder)
    assert reasons(plan(config(folder))) == dict.fromkeys(("a", "b"), (Action.SKIP, FRESH))
    assert apply(folder).written == 0
    assert tree(folder) == before


def test_touched_input_of_the_same_content_stays_fresh(folder: Path) -> None:
    apply(folder)
    os.utime(folder / "weighted" / "a.png", (1, 1))
    assert reasons(plan(config(folder)))["a"] == (Action.SKIP, FRESH)


def test_changed_input_is_redone_and_named(folder: Path) -> None:
    path = folder / "instance" / "a.png"
    apply(folder)
    save(path, half_mask(share=0.75))
    assert reasons(plan(config(folder)))["a"] == (Action.WRITE, "48x32, a.png changed")
    apply(folder)
    assert (read_grey(folder / "out" / "a.png") == tier_mask()).all()


def test_other_size_is_noticed_although_the_time_is_the_same(folder: Path) -> None:
    path = folder / "instance" / "a.png"
    apply(folder)
    time = path.stat().st_mtime_ns
    save(path, half_mask((96, 64), share=0.25))
    os.utime(path, ns=(time, time))
    assert reasons(plan(config(folder)))["a"][0] is Action.WRITE


def test_changed_setting_is_redone_and_named(folder: Path) -> None:
    apply(folder)
    assert reasons(plan(config(folder, grow=1)))["a"] == (Action.WRITE, "48x32, grow changed")


def paint(path: Path, *, keep_note: bool) -> bytes:
    """Change one pixel as a paint program does that keeps, or drops, the chunks it does not know."""
    info = PngImagePlugin.PngInfo()
    with Image.open(path) as image:
        pixels = np.array(image)
        if keep_note:
            info.add_text("blissmask", image.text["blissmask"])
    pixels[0, 0] ^= 0xFF
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path.read_bytes()


@pytest.mark.parametrize(("keep_note", "reason"), [(True, Kept.EDITED), (False, Kept.FOREIGN)])
def test_hand_edited_mask_survives_although_its_inputs_changed(folder: Path, *, keep_note: bool, reason: str) -> None:
    apply(folder)
    edited = paint(folder / "out" / "a.png", keep_note=keep_note)
    save(folder / "instance" / "a.png", half_mask(share=0.75))
    made = plan(config(folder))
    assert reasons(made)["a"] == (Action.SKIP, reason)
    assert any(problem.where == (str(folder / "out" / "a.png"),) for problem in made.warnings)
    summary = apply(folder)
    assert summary.details["kept"] == ["a"]
    assert (folder / "out" / "a.png").read_bytes() == edited


def test_hand_edited_mask_is_redone_with_force_and_kept_as_a_copy(folder: Path) -> None:
    apply(folder)
    before = tree(folder / "out")
    edited = paint(folder / "out" / "a.png", keep_note=True)
    apply(folder, force=True)
    assert tree(folder / "out") == {**before, "a.png.bak": edited}


def test_output_of_another_command_is_not_overwritten(folder: Path) -> None:
    save(folder / "out" / "a.png", half_mask())
    assert reasons(plan(config(folder)))["a"] == (Action.SKIP, Kept.FOREIGN)


def test_truncated_output_is_redone_or_kept_but_never_taken_for_finished(folder: Path) -> None:
    apply(folder)
    path = folder / "out" / "a.png"
    path.write_bytes(path.read_bytes()[:-30])
    assert reasons(plan(config(folder)))["a"] == (Action.SKIP, Kept.EDITED)


def test_link_in_the_output_folder_is_not_written_through(folder: Path) -> None:
    treasure = save(folder / "elsewhere" / "treasure.png", half_mask())
    before = treasure.read_bytes()
    (folder / "out").mkdir()
    (folder / "out" / "a.png").symlink_to(treasure)
    assert reasons(plan(config(folder)))["a"] == (Action.SKIP, Kept.LINK)
    apply(folder, force=True)
    assert treasure.read_bytes() == before
    assert not (folder / "out" / "a.png").is_symlink()


def test_link_to_a_folder_is_not_written_through(folder: Path) -> None:
    mask_folder(folder / "weighted" / "clip", ["000000.png"])
    save(folder / "instance" / "clip" / "000000.png", half_mask())
    (folder / "elsewhere").mkdir()
    (folder / "out").mkdir()
    (folder / "out" / "clip").symlink_to(folder / "elsewhere")
    assert reasons(plan(config(folder)))["clip/000000"][0] is Action.FAIL
    apply(folder)
    assert not any((folder / "elsewhere").iterdir())


def test_frames_of_a_clip_are_applied_one_by_one(folder: Path) -> None:
    mask_folder(folder / "weighted" / "clip", ["000000.png", "000001.png"])
    save(folder / "instance" / "clip" / "000000.png", half_mask(share=0.25))
    save(folder / "instance" / "clip" / "000001.png", half_mask(share=0.5))
    apply(folder)
    assert not read_grey(folder / "out" / "clip" / "000000.png")[:, 12:].any()
    assert (read_grey(folder / "out" / "clip" / "000001.png") == tier_mask()).all()


def test_one_subject_mask_serves_all_frames_of_a_clip(folder: Path) -> None:
    mask_folder(folder / "weighted" / "clip", ["000000.png", "000001.png"])
    save(folder / "instance" / "clip.png", half_mask(share=0.25))
    assert apply(folder).written == 4


def test_frames_for_a_clip_with_one_weighted_mask_fail_with_a_reason(folder: Path) -> None:
    save(folder / "instance" / "b" / "000000.png", half_mask())
    (folder / "instance" / "b.png").unlink()
    assert "one per frame" in reasons(plan(config(folder)))["b"][1]


def test_unreadable_mask_costs_one_item(folder: Path) -> None:
    path = folder / "weighted" / "a.png"
    path.write_bytes(path.read_bytes()[:60])
    summary = apply(folder)
    assert (summary.written, [failure.key for failure in summary.failures]) == (1, ["a"])


def test_jpeg_mask_is_doubted_in_the_summary(folder: Path) -> None:
    (folder / "weighted" / "a.png").unlink()
    save(folder / "weighted" / "a.jpg", tier_mask())
    assert any("may not hold what was meant" in problem.what for problem in apply(folder).warnings)


def test_subject_mask_of_class_numbers_is_named_as_why_nothing_is_left(folder: Path) -> None:
    path = save(folder / "instance" / "a.png", np.ones((32, 48), np.uint8))
    summary = apply(folder)
    [doubted] = [problem.where for problem in summary.warnings if "may not hold what was meant" in problem.what]
    assert doubted == (f"{path}: its brightest value is 1 of 255, as if its values were class numbers",)
    assert summary.details["emptied"] == ["a"]


def test_all_missing_folders_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Config())
    (problem,) = caught.value.problems
    assert [flag for flag in problem.what.split("`") if flag.startswith("--")] == [
        "--weighted-masks",
        "--instance-masks",
        "--output",
    ]
    assert "`weighted_masks`, `instance_masks` and `output` under [apply]" in problem.fix


@pytest.mark.parametrize("output", ["weighted", "instance", "weighted/../instance", "link"])
def test_output_in_an_input_folder_is_refused(folder: Path, output: str) -> None:
    (folder / "link").symlink_to(folder / "weighted")
    before = tree(folder)
    with pytest.raises(UsageError, match="the output folder is the folder of"):
        plan(config(folder, output=folder / output))
    assert tree(folder) == before


def test_one_folder_cannot_hold_both_masks(folder: Path) -> None:
    (folder / "same").symlink_to(folder / "weighted")
    with pytest.raises(UsageError, match="also that of subject masks"):
        plan(config(folder, instance_masks=folder / "same"))


def test_output_inside_an_input_is_not_taken_for_a_clip(folder: Path) -> None:
    inside = folder / "weighted" / "out"
    for _ in range(2):
        assert set(reasons(plan(config(folder, output=inside)))) == {"a", "b"}
        apply(folder, output=inside)


def test_two_masks_of_one_name_are_refused_together(folder: Path) -> None:
    save(folder / "weighted" / "A.png", tier_mask())
    save(folder / "instance" / "b.webp", half_mask())
    with pytest.raises(InputError) as caught:
        plan(config(folder))
    assert {Path(place).name for place in caught.value.problems[0].where} == {"a.png", "A.png"}


def test_inputs_are_never_changed(folder: Path) -> None:
    before = {**tree(folder / "weighted"), **{f"i/{name}": data for name, data in tree(folder / "instance").items()}}
    apply(folder, force=True)
    after = {**tree(folder / "weighted"), **{f"i/{name}": data for name, data in tree(folder / "instance").items()}}
    assert after == before


@pytest.mark.parametrize("broken", ["weighted", "instance"])
def test_which_of_the_two_masks_cannot_be_read_is_said(folder: Path, broken: str) -> None:
    (folder / broken / "a.png").write_bytes(b"")
    [failure] = apply(folder).failures
    assert failure.problem.line == f"{folder / broken / 'a.png'}: the file is empty"
