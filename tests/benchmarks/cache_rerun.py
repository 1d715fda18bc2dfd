"""How long `cache` takes when nothing changed, and how planning grows with the number of items.

    python -m tests.benchmarks.cache_rerun [ITEMS]

Makes ITEMS small photos with masks and captions (10,000 unless told), and four times as many; fills the caches with models that only return
zeros, since no model is needed for what is measured; prints the seconds of a whole second run in its own process, and the processor
seconds of planning alone, which other programs on the machine disturb less. The plan holds a little for every item: how much, the peak
memories of the two runs tell.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from blissmask.config.load import load_config
from blissmask.families.family import FamilyForTask
from blissmask.families.protocol import EncodedText
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import RunContext
from tests.benchmarks.cache_memory import peak_mib
from tests.benchmarks.report import Row, Size, machine, table
from tests.builders.families import TWO_EXPERTS
from tests.builders.pictures import random_rgb, save, tier_mask

ITEMS = {Size.SMALLEST: 5, Size.QUICK: 500, Size.FULL: 10_000}
ROUNDS = {Size.SMALLEST: 1, Size.QUICK: 3, Size.FULL: 3}
GOAL_SECONDS, GOAL_GROWTH = 5.0, 4.5
MODEL = {"model": {"arch": TWO_EXPERTS, "model": "tiny"}}


def rows(size: Size) -> list[Row]:
    """Return the figures for a number of items and four times as many; the goals are those of 10,000 items."""
    return rerun_rows(ITEMS[size], rounds=ROUNDS[size])


def rerun_rows(count: int, *, rounds: int) -> list[Row]:
    """Return the figures for ``count`` items and four times as many; plans are the best of ``rounds``."""
    whole, planning, memory = {}, {}, {}
    for items in (count, 4 * count):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, items)
            fill(folder)
            planning[items] = plan_seconds(folder, rounds)
            whole[items] = command_seconds(folder)
            memory[items] = peak_mib(*arguments(folder))
    return [
        Row(f"cache, nothing changed, {count} items: whole command", whole[count], "s", goal=GOAL_SECONDS),
        Row(f"cache, nothing changed, {4 * count} items: whole command", whole[4 * count], "s"),
        Row(
            f"planning {4 * count} / {count} items, processor time",
            planning[4 * count] / planning[count],
            goal=GOAL_GROWTH,
        ),
        Row("memory of the plan per item", max(0.0, memory[4 * count] - memory[count]) * 1024 / (3 * count), "KiB"),
    ]


def make(folder: Path, items: int) -> None:
    photo = save(folder / "photo.png", random_rgb((48, 32))).read_bytes()
    mask = save(folder / "mask.png", tier_mask((48, 32))).read_bytes()
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for number in range(items):
        (folder / "photos" / f"{number:06}.png").write_bytes(photo)
        (folder / "masks" / f"{number:06}.png").write_bytes(mask)
        (folder / "photos" / f"{number:06}.txt").write_text(f"photo {number % 50}", encoding="utf-8")
    lines = (
        "[general]",
        "resolution = [64, 48]",
        "[[datasets]]",
        *(f'{key} = "{folder / name}"' for key, name in FOLDERS.items()),
    )
    (folder / "blissmask.toml").write_text("\n".join(lines), encoding="utf-8")


FOLDERS = {"image_directory": "photos", "mask_directory": "masks", "cache_directory": "cache"}


def fill(folder: Path) -> None:
    """Run `cache` once with models that return zeros, without waiting for the disk."""
    latents = SimpleNamespace(encode_item=lambda pixels, **_: {"latents": torch.zeros(1, 16, 1, 6, 8)})
    text = SimpleNamespace(
        encode=lambda captions, _: [EncodedText({"t5": torch.zeros(3, 8)}, frozenset({"t5"}))] * len(captions)
    )
    loaders = FamilyForTask.load_latent_encoder, FamilyForTask.load_text_encoder
    sync, os.fsync = os.fsync, lambda descriptor: None
    FamilyForTask.load_latent_encoder, FamilyForTask.load_text_encoder = lambda *_, **__: latents, lambda *_, **__: text
    run_cache(plan_cache(load_config(folder / "blissmask.toml", MODEL)), RunContext(jobs=2))
    FamilyForTask.load_latent_encoder, FamilyForTask.load_text_encoder = loaders
    os.fsync = sync


_PLAN = """
import sys, time
from pathlib import Path
from blissmask.config.load import load_config
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
config = load_config(Path(sys.argv[1]), {"model": {"arch": sys.argv[2], "model": "tiny"}})
started = time.process_time()
plan_cache(config)
print(time.process_time() - started)
"""


def plan_seconds(folder: Path, rounds: int) -> float:
    """Return the processor seconds of planning in a process of its own, without the start of Python; the best of ``rounds``."""
    command = [sys.executable, "-c", _PLAN, str(folder / "blissmask.toml"), TWO_EXPERTS]
    return min(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(rounds))


def command_seconds(folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "blissmask", *arguments(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def arguments(folder: Path) -> list[str]:
    return ["cache", "--config", str(folder / "blissmask.toml"), "--arch", TWO_EXPERTS, "--model", "tiny", "--quiet"]


if __name__ == "__main__":
    COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS[Size.FULL]
    print(f"{machine()}\n\n{table(rerun_rows(COUNT, rounds=ROUNDS[Size.FULL]))}")
