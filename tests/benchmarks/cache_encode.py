"""How fast photos are encoded, and what a `cache` run costs beside the encoder: `python -m tests.benchmarks.cache_encode [PHOTOS] [ROUNDS]`.

The Wan 2.1 VAE at its full size (127 million weights, random ones: speed does not depend on their values), 512 px, float32, on the
processor. Two figures, both ratios of wall time within one run:

- Encoding one photo with plain diffusers against ours, in turns, the best of ROUNDS (3 unless told), so that a change of the machine's load
  hits both alike; and the largest difference of the latents (goals 2.8 and 1e-5).
- A whole `cache --latents-only` run over PHOTOS photos of 1024 px with masks (64 unless told), planning and loading the VAE from its file
  included, against the time that this very run spends in the encoder (goal 1.10). What it has beside the encoder is decoding,
  resizing and writing, which other threads do meanwhile; on a machine whose cores are all busy with the encoder that is not free.

Other programs on the machine disturb both, the second more: the load when the run began stands in the table. 64 photos take about ten
minutes on two cores; with few of them, loading the VAE weighs more than it should.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from blissmask.cachefile.write import save_tensors
from blissmask.config.load import load_config
from blissmask.families.vae.latent_encoder import LatentEncoder
from blissmask.families.wan import tiny
from blissmask.families.wan.vae import WanVaeEncoder
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import RunContext
from tests.benchmarks.report import Row, Size, machine, table
from tests.builders.families import PLAIN, family_of
from tests.builders.pictures import random_rgb, save, tier_mask

PHOTOS, ROUNDS, SIDE = 64, 3, 512
SIZES = {Size.SMALLEST: (2, 1, 32), Size.QUICK: (6, 1, SIDE), Size.FULL: (PHOTOS, ROUNDS, SIDE)}
"""Photos, rounds, and the side in pixels; another side than 512 takes the VAE in miniature."""


def rows(size: Size) -> list[Row]:
    """Return the figures; the goals are those of 64 photos."""
    photos, rounds, side = SIZES[size]
    return encode_rows(photos, rounds, side)


def encode_rows(photos: int, rounds: int, side: int = SIDE) -> list[Row]:
    """Return the figures for ``photos`` photos, encoded at ``side`` pixels, and ``rounds`` of comparing."""
    torch.manual_seed(0)
    vae = (AutoencoderKLWan() if side == SIDE else tiny.vae()).eval().requires_grad_(False)
    plain, ours, difference = encode_seconds(vae, rounds, side)
    whole, inside = run_seconds(vae, photos, side)
    return [
        Row(f"cache, plain diffusers, one photo of {side} px", plain, "s"),
        Row(f"cache, ours, one photo of {side} px", ours, "s"),
        Row("encoding, plain diffusers / ours", plain / ours, goal=2.8, more_is_better=True),
        Row("largest difference of their latents", difference, goal=1e-5),
        Row(f"cache, whole run, {photos} photos", whole, "s"),
        Row("cache, whole run / its time in the encoder", whole / inside, goal=1.10),
    ]


def encode_seconds(vae: AutoencoderKLWan, rounds: int, side: int) -> tuple[float, float, float]:
    """Return the best seconds of plain diffusers and of ours, and how far their latents are apart."""
    encoder = WanVaeEncoder(copy.deepcopy(vae), family_of(PLAIN).latent)
    pixels = torch.rand(1, 3, 1, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )

    @torch.inference_mode()
    def plain() -> Tensor:
        return (vae.encode(pixels).latent_dist.mode() - mean) / std

    found: dict[str, Tensor] = {}
    best = {"plain": float("inf"), "ours": float("inf")}
    for _ in range(rounds):
        for name, work in (("plain", plain), ("ours", lambda: encoder.encode(pixels))):
            seconds, found[name] = timed(work)
            best[name] = min(best[name], seconds)
    return best["plain"], best["ours"], float((found["plain"] - found["ours"]).abs().max())


def run_seconds(vae: AutoencoderKLWan, photos: int, side: int) -> tuple[float, float]:
    """Return the seconds of a whole `cache` run, and of it those in the encoder."""
    inside = 0.0
    encode_item = LatentEncoder.encode_item

    def counted(self: LatentEncoder, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        nonlocal inside
        seconds, contents = timed(lambda: encode_item(self, *args, **kwargs))
        inside += seconds
        return contents

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_tensors(folder / "vae.safetensors", vae.state_dict(), {})
        for number in range(photos):
            save(folder / "photos" / f"{number:03}.png", random_rgb((2 * side, 2 * side), seed=number))
            save(folder / "masks" / f"{number:03}.png", tier_mask((2 * side, 2 * side)))
        lines = [f"[general]\nresolution = [{side}, {side}]\n[[datasets]]"]
        lines += [f'{key} = "{folder / place}"' for key, place in FOLDERS.items()]
        (folder / "blissmask.toml").write_text("\n".join(lines), encoding="utf-8")
        flags = {
            "model": {"arch": PLAIN, "vae": folder / "vae.safetensors", "device": "cpu"},
            "cache": {"latents_only": True},
        }
        LatentEncoder.encode_item = counted  # type: ignore[method-assign]
        try:
            whole, _ = timed(
                lambda: run_cache(plan_cache(load_config(folder / "blissmask.toml", flags)), RunContext(jobs=2))
            )
        finally:
            LatentEncoder.encode_item = encode_item  # type: ignore[method-assign]
    return whole, inside


FOLDERS = {"image_directory": "photos", "mask_directory": "masks", "cache_directory": "cache"}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    print(
        f"{machine()}\n\n{table(encode_rows(*(int(text) for text in sys.argv[1:]), *(PHOTOS, ROUNDS)[len(sys.argv) - 1 :]))}"
    )
