"""A refactoring leaves the losses equal: every family trains a few steps, from pictures to losses, as it did before.

The numbers of each step are in ``golden/losses``, a file for each family, a line for each step of each task.
``BLISSMASK_UPDATE_GOLDEN=1`` writes them anew; look at the difference: everybody's training will differ by it.
"""

import json
import os
from pathlib import Path

import pytest

from blissmask.families.registry import FAMILIES, load_family
from tests.builders.golden_files import GOLDEN
from tests.builders.pictures import random_rgb, save, tier_mask, write_video

FOLDER = GOLDEN / "losses"
SIZE_WH = (96, 64)
# Processors round differently, text encoders in bfloat16 most. ATEN_CPU_CAPABILITY=default instead of AVX-512 moves
# losses by 1e-4, gradients by 2e-3, and what is the difference of two nearly equal predictions by 5e-3.
TOLERANCE = 3e-4
TOLERANCES = {"grad_norm": 1e-2, "prior/loss": 2e-2}


@pytest.mark.parametrize("name", FAMILIES.names())
def test_a_few_steps_give_the_losses_of_the_golden_file(command, name):
    path = FOLDER / f"{name}.jsonl"
    tasks = [load_family(name).for_task(task) for task in load_family(name).tasks]
    for family in tasks:
        write_inputs(family)
    steps = [{"task": family.task_name, **step} for family in tasks for step in steps_of(command, family)]
    if os.environ.get("BLISSMASK_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{json.dumps(step)}\n" for step in steps), encoding="utf-8")
    assert path.exists(), "a new family: write its losses with BLISSMASK_UPDATE_GOLDEN=1"
    golden = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [step.keys() for step in steps] == [step.keys() for step in golden]
    assert [what for step, before in zip(steps, golden, strict=True) for what in differences(step, before)] == []


def differences(step, before):
    """Return what differs by more than rounding, in words."""
    return [
        f"{step['task']}, step {step['step']}: {name} is {value}, was {before[name]}"
        for name, value in step.items()
        if name != "task" and value != pytest.approx(before[name], rel=TOLERANCES.get(name, TOLERANCE))
    ]


def test_every_golden_file_belongs_to_a_family():
    assert {path.stem for path in FOLDER.glob("*.jsonl")} <= set(FAMILIES.names())


def write_inputs(family):
    """Write a photo with a mask, as many control pictures as the family needs, and a clip of two latent frames."""
    save(Path("photos/a.png"), random_rgb(SIZE_WH))
    save(Path("masks/a.png"), tier_mask(SIZE_WH))
    Path("photos/a.txt").write_text('kyla says "hello"', encoding="utf-8")
    for number in range(family.task.control_range[0]):
        save(Path(f"controls/a_{number}.png"), random_rgb(SIZE_WH, seed=1 + number))
    if family.task.takes_videos:
        frames = [random_rgb(SIZE_WH, seed=10 + number) for number in range(family.latent.temporal_stride + 1)]
        write_video(Path("clips/b.avi"), frames)
        Path("clips/b.txt").write_text("kyla walks", encoding="utf-8")
        save(Path("masks/b.png"), tier_mask(SIZE_WH))


def steps_of(command, family):
    """Cache photo and clip, train both experts where there are two, and return the numbers of each step."""
    task = family.task_name
    model = ["--arch", family.name, "--task", task, "--model", "tiny", "--device", "cpu", "--no-progress"]
    folder = ["--cache-directory", f"cache-{task}"]
    cache = ["cache", *model, *folder, "--resolution", ",".join(map(str, SIZE_WH)), "--mask-directory", "masks"]
    controls = ["--control-directory", "controls"] if family.task.control_range[0] else []
    assert command(*cache, "--image-directory", "photos", *controls) == 0
    if family.task.takes_videos:
        frames = family.latent.temporal_stride + 1
        assert command(*cache, "--video-directory", "clips", "--target-frames", frames, "--keep-cache") == 0
    mask_loss = ["--use-mask-loss", "--mask-gamma", 0.7, "--mask-min-weight", 0.05, "--prior-preservation-weight", 0.5]
    steps = ["--max-train-steps", 4, "--network-dim", 2, "--learning-rate", 1e-2, "--log-with", "none"]
    experts = ["--expert", "both", "--high-noise-share", 0.5, "--expert-run-length", 1]
    output = ["--output-dir", "out", "--output-name", task, *(experts if len(family.experts) > 1 else [])]
    assert command("train", *model, *folder, *mask_loss, *steps, *output) == 0
    lines = Path(f"out/{task}-log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
