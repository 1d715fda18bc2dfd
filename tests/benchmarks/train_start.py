"""How long a training takes to begin: `python -m tests.benchmarks.train_start [ENTRIES]` (1,000 unless told).

Writes a cache of so many masked pictures, and one of a single picture; then, in a process of its own, trains one step on the small cache,
which imports every library, and one on the large cache, whose seconds from the plan to the end of the first step are told: by then every header
was checked and every entry read. The pictures are 512 pixels wide, four times fewer latents than at 1024, with captions of 20 rows.
The whole command of one step on the small cache is set against importing torch, PEFT and the model's class alone: processor time of both, in turn.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from blissmask.cachefile.file_names import latent_name, text_name
from blissmask.cachefile.write import write_latents, write_text
from tests.benchmarks.report import Row, Size, machine, table
from tests.builders.families import CACHE_SUFFIX, PLAIN

ENTRIES = {Size.SMALLEST: 3, Size.QUICK: 1000, Size.FULL: 1000}
GOAL_SECONDS = 3.0
BARE_IMPORTS = "import torch, peft; from diffusers import WanTransformer3DModel"
"""What a training cannot do without, whatever it does; the class is the one whose miniature the benchmark trains."""
RUNS = {Size.SMALLEST: 1, Size.QUICK: 3, Size.FULL: 5}
GOAL_COMMAND_SECONDS = 5.0
GOAL_RATIO = 0.85
"""Of the whole command to its bare imports. Below 1, since the command imports without collecting garbage: about 1.1 before it did, and 1.22 while
importing the model's class imported scipy.stats too, where that is installed."""
SIDE, TEXT_ROWS, TEXT_WIDTH = 64, 20, 32


def rows(size: Size) -> list[Row]:
    """Return the figures for a number of entries; the goal is that of 1,000."""
    return [*start_rows(ENTRIES[size]), *command_rows(RUNS[size])]


def start_rows(count: int) -> list[Row]:
    """Return the seconds to the end of the first step with ``count`` entries, beyond imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache(folder / "one", 1)
        write_cache(folder / "many", count)
        done = subprocess.run(
            [sys.executable, "-c", _FIRST_STEP, str(folder), PLAIN], check=True, capture_output=True, text=True
        )
    what = f"train, {count} entries: from the plan to the first step, libraries imported"
    return [Row(what, float(done.stdout), "s", goal=GOAL_SECONDS)]


def command_rows(runs: int) -> list[Row]:
    """Return the processor time of a whole command of one step, median of ``runs``, and its ratio to its bare imports."""
    whole, bare = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache(folder / "one", 1)
        for _ in range(runs):
            bare.append(processor_seconds("-c", BARE_IMPORTS))
            whole.append(processor_seconds("-m", "blissmask", *arguments(folder)))
            shutil.rmtree(folder / "whole")
    command, imports = statistics.median(whole), statistics.median(bare)
    return [
        Row("importing torch, PEFT and the model's class, processor time", imports, "s"),
        Row("train of one step, whole command, processor time", command, "s", goal=GOAL_COMMAND_SECONDS),
        Row("the same / bare imports", command / imports, goal=GOAL_RATIO),
    ]


def write_cache(folder: Path, count: int, *, side: int = SIDE) -> None:
    """Write ``count`` masked pictures of ``side`` latent rows and captions of random numbers, without waiting for the disk."""
    sync, os.fsync = os.fsync, lambda descriptor: None
    shares = torch.softmax(4 * torch.randn(4, 1, side, side), dim=0)
    weights = torch.einsum("rfhw,r->fhw", shares, torch.tensor([1.0, 128 / 255, 80 / 255, 0.0])).unsqueeze(0)
    for number in range(count):
        stem, pixels = f"{number:06}", side * 8
        facts = {"architecture": CACHE_SUFFIX, "width": str(pixels), "height": str(pixels), "format_version": "1.0.1"}
        facts |= {f"blissmask.{name}": value for name, value in own_metadata(number, pixels).items()}
        latents = {"latents": torch.randn(16, 1, side, side).bfloat16()}
        write_latents(
            folder / latent_name(stem, (pixels, pixels), CACHE_SUFFIX),
            latents,
            weights_1fhw=weights,
            regions_4fhw=shares,
            metadata=facts,
        )
        text = {"t5": torch.randn(TEXT_ROWS, TEXT_WIDTH).bfloat16()}
        write_text(
            folder / text_name(stem, CACHE_SUFFIX),
            text,
            variable_length={"t5"},
            metadata={"architecture": CACHE_SUFFIX, "caption1": stem},
        )
    os.fsync = sync


def own_metadata(number: int, pixels: int) -> dict[str, str]:
    """Return what our own entries hold besides, as long as `cache` writes it and other for each entry."""
    unlike = hashlib.blake2b(str(number).encode(), digest_size=64).hexdigest()
    size = f"{pixels}x{pixels}"
    return {
        "media": f"IMG_20260131_{number:07}.png",
        "media_print": f"{4_000_000 + number}:17690000000{number:08}:{unlike[:32]}",
        "mask_print": f"{40_000 + number}:17690000001{number:08}:{unlike[32:64]}",
        "colours": unlike[64:96],
        "source": f"{size} 1 frames",
        "look": f"{unlike} hidden 0.000, frames 1",
        "geometry": f"{size} -> {size}, crop {size}+0+0",
        "vae": "0" * 32,
        "mask_source": "file",
        "tiers": "255,128,80,0",
        "mean_weight": f"0.5{number % 100_000:05}",
    }


_FIRST_STEP = """
import sys, time
from pathlib import Path
from blissmask.config.model import Config
from blissmask.events import Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training

class Clock:
    def emit(self, event):
        if isinstance(event, Measured):
            self.first_step = time.perf_counter()

def seconds(cache):
    config = Config.model_validate({
        "model": {"arch": sys.argv[2], "model": "tiny", "device": "cpu"},
        "datasets": [{"cache_directory": cache}],
        "mask_loss": {"use_mask_loss": True},
        "train": {"max_train_steps": 1},
        "saving": {"output_dir": cache.parent / "out", "output_name": cache.name},
    })
    clock, started = Clock(), time.perf_counter()
    train_lora.run(plan_training(config), RunContext(clock))
    return clock.first_step - started

folder = Path(sys.argv[1])
seconds(folder / "one")
print(seconds(folder / "many"))
"""


def arguments(folder: Path) -> list[str]:
    """Return the command line of a training of one step on the small cache of ``folder``."""
    config = folder / "blissmask.toml"
    config.write_text(f'[[datasets]]\ncache_directory = "{folder / "one"}"\n', encoding="utf-8")
    model = ["--arch", PLAIN, "--model", "tiny", "--device", "cpu", "--use-mask-loss"]
    return [
        "train",
        "--config",
        str(config),
        *model,
        "--output-dir",
        str(folder / "whole"),
        "--max-train-steps",
        "1",
        "--quiet",
    ]


def processor_seconds(*arguments: str) -> float:
    """Return the user and system seconds of an interpreter with these arguments."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    # Popen does not see that the process was waited for.
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"`{' '.join(arguments)}` failed")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES[Size.FULL]
    print(f"{machine()}\n\n{table([*start_rows(entries), *command_rows(RUNS[Size.QUICK])])}")
