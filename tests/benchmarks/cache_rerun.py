"""How long `cache` takes when nothing changed, and how planning grows with the number of items.

    python tests/benchmarks/cache_rerun.py [ITEMS]

Makes ITEMS small photos with masks and captions (10,000 unless told), and four times as many; fills the caches with models that only return
zeros, since no model is needed for what is measured; prints the seconds of a whole second run in its own process, and the processor
seconds of planning alone, which other programs on the machine disturb less.
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

from blissmask.archs.protocol import EncodedText
from blissmask.archs.wan import WanFamily
from blissmask.config.load import load_config
from blissmask.tasks.cache import build_cache
from blissmask.tasks.plan import RunContext
from tests.builders import random_rgb, save, tier_mask

ARGUMENTS = ("--arch", "wan22", "--model", "tiny")
MODEL = {"model": {"arch": "wan22", "model": "tiny"}}


def main(count: int) -> None:
    """Print the figures for ``count`` items and four times as many."""
    seconds = {}
    for items in (count, 4 * count):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, items)
            fill(folder)
            seconds[items] = plan_seconds(folder)
            print(
                f"{items:>7} items, nothing changed: whole command {command_seconds(folder):.2f} s, planning {seconds[items]:.2f} processor s"
            )
    print(f"planning {4 * count} against {count} items: {seconds[4 * count] / seconds[count]:.2f} x")


def make(folder: Path, items: int) -> None:
    photo = save(folder / "photo.png", random_rgb((48, 32))).read_bytes()
    mask = save(folder / "mask.png", tier_mask((48, 32))).read_bytes()
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for number in range(items):
        (folder / "photos" / f"{number:06}.png").write_bytes(photo)
        (folder / "masks" / f"{number:06}.png").write_bytes(mask)
        (folder / "photos" / f"{number:06}.txt").write_text(f"photo {number % 50}", encoding="utf-8")
    lines = ("[general]", "resolution = [64, 48]", "[[datasets]]", *(f'{key} = "{folder / name}"' for key, name in FOLDERS.items()))
    (folder / "blissmask.toml").write_text("\n".join(lines), encoding="utf-8")


FOLDERS = {"image_directory": "photos", "mask_directory": "masks", "cache_directory": "cache"}


def fill(folder: Path) -> None:
    """Run `cache` once with models that return zeros, without waiting for the disk."""
    latents = SimpleNamespace(encode_item=lambda pixels, **_: {"latents": torch.zeros(1, 16, 1, 6, 8)})
    text = SimpleNamespace(encode=lambda captions, _: [EncodedText({"t5": torch.zeros(3, 8)}, frozenset({"t5"}))] * len(captions))
    loaders = WanFamily.load_latent_encoder, WanFamily.load_text_encoder
    sync, os.fsync = os.fsync, lambda descriptor: None
    WanFamily.load_latent_encoder, WanFamily.load_text_encoder = lambda *_, **__: latents, lambda *_, **__: text
    build_cache.run(build_cache.plan(load_config(folder / "blissmask.toml", MODEL)), RunContext(jobs=2))
    WanFamily.load_latent_encoder, WanFamily.load_text_encoder = loaders
    os.fsync = sync


def plan_seconds(folder: Path) -> float:
    config = load_config(folder / "blissmask.toml", MODEL)
    started = time.process_time()
    build_cache.plan(config)
    return time.process_time() - started


def command_seconds(folder: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-m", "blissmask", "cache", "--config", str(folder / "blissmask.toml"), *ARGUMENTS, "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
