"""Options that every command has: how many items at once, what is told, and what a failing item or a missing device costs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from blissmask.config.sections.run_section import RunSection
from blissmask.tasks.run.plan import RunContext, Summary
from tests.builders import backend_models
from tests.builders.command import run_here
from tests.builders.families import CACHE_SUFFIX, PLAIN
from tests.builders.masks import use_colours
from tests.builders.pictures import mask_folder, photo_folder, tree
from tests.builders.training import write_masked_set

SIZE_WH = (64, 64)
NAMES = tuple("abcdefgh")
# One item at a time, and so a few read ahead, whose number is fixed.
MASKS = "blissmask masks --input photos --output out --jobs 1"
CACHE = (
    f"blissmask cache --arch {PLAIN} --model tiny --resolution 64 --caption-extension .txt"
    " --image-directory photos --cache-directory out --jobs 1"
)
TRAIN = f"blissmask train --arch {PLAIN} --model tiny --network-dim 2 --max-train-steps 1 --log-with none"
SAPIENS = "sapiens_tiny_torchscript.pt2"
TO_ALPHA = "blissmask to-alpha --image-directory photos --mask-directory masks --output-directory out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight photos with masks and captions."""
    files = [f"{name}.png" for name in NAMES]
    photo_folder(tmp_path / "photos", files, size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks", files, size_wh=SIZE_WH)
    for name in NAMES:
        (tmp_path / "photos" / f"{name}.txt").write_text("a person")
    return tmp_path


# How many at once


@pytest.mark.parametrize(("option", "jobs"), [("--jobs 3", 3), ("-j 3", 3), ("", RunSection().worker_count)])
def test_as_many_items_are_worked_on_at_once_as_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, jobs: int
) -> None:
    given: list[RunContext] = []

    def run(plan: object, context: RunContext) -> Summary:
        given.append(context)
        return Summary("to-alpha")

    monkeypatch.setattr(importlib.import_module("blissmask.tasks.to_alpha.run"), "run", run)
    run_here(f"{TO_ALPHA} {option}", folder)
    assert [context.jobs for context in given] == [jobs]


@pytest.mark.parametrize(("option", "jobs"), [("--jobs 7", 7), ("", 1)])
def test_fewer_items_are_worked_on_at_once_where_memory_is_short_and_it_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, jobs: int
) -> None:
    monkeypatch.setattr("blissmask.cli.execute.workers", lambda cores, pixels: 7 if pixels == 0 else 1)
    monkeypatch.setattr(RunSection, "worker_count", 7)
    given: list[int] = []
    real = importlib.import_module("blissmask.tasks.to_alpha.run").run

    def run(plan: object, context: RunContext) -> Summary:
        given.append(context.jobs)
        return real(plan, context)

    monkeypatch.setattr(importlib.import_module("blissmask.tasks.to_alpha.run"), "run", run)
    done = run_here(f"{TO_ALPHA} {option}", folder)
    assert given == [jobs]
    assert ("1 of 7 cores at work" in done.err) == (not option)


# What is told

PROGRESS = "Converting 8/8"
HINT = "hint: "


@pytest.mark.parametrize(
    ("option", "told"),
    [("", (True, True)), ("--no-progress", (False, True)), ("--quiet", (False, False)), ("-q", (False, False))],
)
def test_progress_and_hints_are_told_unless_refused(folder: Path, option: str, told: tuple[bool, bool]) -> None:
    ran = run_here(f"{TO_ALPHA} {option}", folder)
    assert (PROGRESS in ran.err, HINT in ran.err) == told


def test_the_summary_is_told_when_all_else_is_quiet(folder: Path) -> None:
    assert "Written 8, skipped 0, failed 0" in run_here(f"{TO_ALPHA} --quiet", folder).out


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twenty-five photos, of which twelve have no mask, and captions for none."""
    files = [f"{number:02}.png" for number in range(25)]
    photo_folder(tmp_path / "photos", files, size_wh=SIZE_WH)
    mask_folder(tmp_path / "masks", files[:13], size_wh=SIZE_WH)
    return tmp_path


@pytest.mark.parametrize(("option", "shown"), [("", 20), ("--verbose", 25), ("-v", 25)])
def test_verbose_lists_every_item_of_a_plan(many: Path, option: str, shown: int) -> None:
    ran = run_here(f"blissmask masks --input photos --output out --dry-run {option}", many)
    assert sum(line.startswith(" write ") for line in ran.out.splitlines()) == shown


@pytest.mark.parametrize(("option", "shown"), [("", 10), ("--verbose", 25), ("-v", 25)])
def test_verbose_lists_every_place_of_an_error(many: Path, option: str, shown: int) -> None:
    ran = run_here(f"{CACHE} {option}", many)
    assert ran.err.count("photos/") == shown


@pytest.mark.parametrize(("option", "shown"), [("", 10), ("--verbose", 12)])
def test_verbose_lists_every_failed_item_of_a_summary(many: Path, option: str, shown: int) -> None:
    ran = run_here(f"{TO_ALPHA} {option}", many)
    assert ran.err.count(": no mask in") == shown


# What a failing item costs


def damage(photo: Path) -> None:
    """Cut a photo off behind its header, so that only the run notices."""
    photo.write_bytes(photo.read_bytes()[:400])


@pytest.mark.parametrize(("option", "code", "all_others"), [("", 3, True), ("--fail-fast", 1, False)])
def test_masks_end_with_the_first_item_that_fails_when_asked_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, option: str, code: int, *, all_others: bool
) -> None:
    use_colours(monkeypatch)
    damage(folder / "photos" / "b.png")
    ran = run_here(f"{MASKS} {option}", folder)
    done = {path.stem for path in (folder / "out").glob("*.png")}
    assert (ran.code, done == set(NAMES) - {"b"}) == (code, all_others)


@pytest.mark.parametrize(("option", "code", "all_others"), [("", 3, True), ("--fail-fast", 1, False)])
def test_cache_ends_with_the_first_item_that_fails_when_asked_to(
    folder: Path, option: str, code: int, *, all_others: bool
) -> None:
    damage(folder / "photos" / "b.png")
    ran = run_here(f"{CACHE} {option}", folder)
    done = {path.name[0] for path in (folder / "out").glob(f"*_0064x0064_{CACHE_SUFFIX}.safetensors")}
    assert (ran.code, done == set(NAMES) - {"b"}) == (code, all_others)


def test_the_item_that_ended_the_run_is_named(folder: Path) -> None:
    damage(folder / "photos" / "b.png")
    assert (
        "error: the picture is damaged: image file is truncated\n  photos/b.png"
        in run_here(f"{CACHE} --fail-fast", folder).err
    )


# Devices


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    "line", [f"{MASKS} --backend sapiens --model {SAPIENS}", CACHE, TRAIN], ids=["masks", "cache", "train"]
)
def test_a_device_that_is_not_there_is_named_and_nothing_is_made(folder: Path, line: str) -> None:
    assert backend_models.sapiens_file(folder).name == SAPIENS
    write_masked_set(folder / "cache")
    (folder / "blissmask.toml").write_text('[[datasets]]\ncache_directory = "cache"\n')
    ran = run_here(f"{line} --device cuda:9", folder)
    assert ran.code == 1
    assert "error: there is no device `cuda:9`\n  0 CUDA devices\n\nhint: use `--device cpu`" in ran.err
    assert tree(folder / "out") == {}


@pytest.mark.parametrize("command", ["masks", "instance"])
@pytest.mark.parametrize("option", ["--device cuda", "--precision float16", "--model network.onnx"])
def test_the_embedded_networks_refuse_options_of_others(command, option, tmp_path):
    ran = run_here(
        f"blissmask {command} --input photos --output out {option} --dry-run",
        photo_folder(tmp_path / "photos", ["a.png"]).parent,
    )
    assert ran.code == 2
    assert f"it takes no such `{option.split()[0]}`" in ran.err
