"""Small caches in the documented format, and configurations that train on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from blissmask.cachefile.entry import CacheHeader, SharedHeader
from blissmask.cachefile.file_names import CLASS, EMPTY, TextKind, latent_name, text_name
from blissmask.cachefile.write import write_latents, write_text
from blissmask.config.model import Config
from blissmask.errors import BlissmaskError
from blissmask.events import Measured
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.run.plan import RunContext, Summary
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.families import CACHE_SUFFIX, PLAIN
from tests.builders.recorder import Recorder

# The models are so small that threads would only wait for each other.
torch.set_num_threads(1)

TEXT_WIDTH = 32
TIER_WEIGHTS = torch.tensor([1.0, 128 / 255, 80 / 255, 0.0])


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stripes(frames: int, rows: int, columns: int) -> Tensor:
    """Return shares (4, f, h, w): one tier per row, in turn, so that every cell is wholly of one tier."""
    shares = torch.zeros(4, frames, rows, columns)
    for row in range(rows):
        shares[row % 4, :, row] = 1.0
    return shares


def weights_of(shares_4fhw: Tensor) -> Tensor:
    return torch.einsum("rfhw,r->fhw", shares_4fhw, TIER_WEIGHTS).unsqueeze(0)


def write_entry(
    folder: Path,
    stem: str,
    *,
    latents: Tensor | None = None,
    shape: tuple[int, int, int, int] = (16, 1, 4, 4),
    weights: Tensor | None = None,
    regions: Tensor | None = None,
    text: bool = True,
    caption: str = "",
    class_caption: str = "",
    text_width: int = TEXT_WIDTH,
    subject_sets: Tensor | None = None,
    seed: int = 0,
    arch: str = CACHE_SUFFIX,
    **metadata: str,
) -> Path:
    """Write one item's latents and caption, and the caption with the class word if given; return the latent file."""
    latents = seeded(*shape, seed=seed).bfloat16() if latents is None else latents
    rows, columns = latents.shape[-2:]
    path = folder / latent_name(stem, (columns * 8, rows * 8), arch)
    facts = {
        "architecture": arch,
        "width": str(columns * 8),
        "height": str(rows * 8),
        "format_version": "1.0.1",
        **metadata,
    }
    write_latents(
        path,
        {"latents": latents},
        weights_1fhw=weights,
        regions_4fhw=regions,
        subjects_Qfhw=subject_sets,
        metadata=facts,
    )
    if text:
        rows_of_caption = {"t5": seeded(5 + seed % 3, text_width, seed=1000 + seed).bfloat16()}
        write_text(
            folder / text_name(stem, arch),
            rows_of_caption,
            variable_length={"t5"},
            metadata={"architecture": arch, "caption1": caption or stem},
        )
    if class_caption:
        write_text(
            folder / text_name(stem, arch, CLASS),
            {"t5": seeded(4 + seed % 3, TEXT_WIDTH, seed=2000 + seed).bfloat16()},
            variable_length={"t5"},
            metadata={"architecture": arch, "caption1": class_caption},
        )
    return path


def write_other_texts(folder: Path, stem: str, *, caption: str, seed: int = 0) -> None:
    """Write the text of no caption, and where a caption has the tags "red, blue" its other order, with the class word too."""
    ours = {"architecture": CACHE_SUFFIX, "caption1": caption.replace("red, blue", "blue, red")}
    texts = {EMPTY: {**ours, "caption1": ""}}
    if ours["caption1"] != caption:
        texts[TextKind(1)] = {**ours, "blissmask.order_of": caption, "blissmask.keep_tokens": "1"}
        texts[TextKind(1, is_class=True)] = {**ours, "caption1": ours["caption1"].replace("ohwx", "woman")}
    for number, (kind, metadata) in enumerate(texts.items()):
        rows = {"t5": seeded(3, TEXT_WIDTH, seed=3000 + 10 * seed + number).bfloat16()}
        write_text(folder / text_name(stem, CACHE_SUFFIX, kind), rows, variable_length={"t5"}, metadata=metadata)


def header_of(latents_Cfhw: Tensor, *, stem: str = "a", **metadata: str) -> CacheHeader:
    """Return the header of a file that holds ``latents_Cfhw``, without a file."""
    name = latent_name(stem, (latents_Cfhw.shape[-1] * 8, latents_Cfhw.shape[-2] * 8), CACHE_SUFFIX)
    shared = SharedHeader(tuple(latents_Cfhw.shape), {}, tuple(metadata))
    return CacheHeader(ShortPath("", name), stem, CACHE_SUFFIX, shared, tuple(metadata.values()))


FEWER_LAYERS = {"exclude_patterns": [r".*\.(ffn|cross_attn)\..*", r".*\.self_attn\.[kvo]"]}
"""Options that adapt one layer of each block of :data:`PLAIN`: less to trace and to compile, which takes the time of tests
that do.
"""
FEW_LAYERS = [r".*\.cross_attn\..*", r".*\.self_attn\.[kvo]", r".*\.ffn\.0"]
"""What a training leaves out that does not ask for :data:`ALL_LAYERS`. A square layer and an oblong one in each block are
adapted; to put adapters into all was a third of a training in miniature.
"""
ALL_LAYERS: dict[str, Any] = {"exclude_patterns": []}
"""Options of tests whose subject is which layers a LoRA has, or what all of them are called."""


def write_masked_set(
    folder: Path, *, count: int = 4, shape: tuple[int, int, int, int] = (16, 1, 4, 4), **metadata: str
) -> Path:
    """Write ``count`` items whose masks show every tier; the captions of all but the first hold the trigger."""
    shares = stripes(*shape[1:])
    for number in range(count):
        write_entry(
            folder,
            f"kyla{number:03d}",
            shape=shape,
            weights=weights_of(shares),
            regions=shares,
            seed=number,
            caption=f"ohwx {number}" if number else "",
            class_caption=f"woman {number}" if number else "",
            **metadata,
        )
    return folder


def train_config(
    cache: Path, output: Path, *, datasets: Sequence[dict[str, Any]] | None = None, **fields: Any
) -> Config:
    """Return a configuration that trains the tiny :data:`PLAIN` for a few steps; ``fields`` go to the section that has them."""
    sections: dict[str, dict[str, Any]] = {
        "model": {"arch": PLAIN, "model": "tiny", "device": "cpu"},
        "mask_loss": {},
        "train": {"max_train_steps": 2},
        "memory": {},
        "lora": {"network_dim": 2, "exclude_patterns": FEW_LAYERS},
        "optimizer": {"learning_rate": 1e-2},
        "timesteps": {},
        "saving": {"output_dir": output, "output_name": "kyla"},
        "combine": {},
        "previews": {},
        "ranking": {},
        "logging": {},
        "masks": {},
        "run": {},
    }
    if {"dit", "dit_high_noise"} & fields.keys():
        # The miniature would stand for these files.
        sections["model"]["model"] = None
    for name, value in fields.items():
        owner = next(section for section in sections if name in Config.model_fields[section].annotation.model_fields)
        sections[owner][name] = value
    words = {"trigger": "ohwx", "class_word": "woman"} if "trigger_free_weight" in fields else {}
    return Config.model_validate({"datasets": datasets or [{"cache_directory": cache, **words}], **sections})


def run(config: Config, *, stop_after: int | None = None) -> tuple[Summary, Recorder]:
    """Plan and train; a signal asks to stop after ``stop_after`` steps."""
    recorder = Recorder()

    def stop_signal() -> int:
        return 15 if stop_after is not None and len(recorder.of(Measured)) >= stop_after else 0

    summary = train_lora.run(plan_training(config), RunContext(recorder, stop_signal=stop_signal))
    return summary, recorder


def losses(recorder: Recorder) -> list[float]:
    return [event.values["loss"] for event in recorder.of(Measured)]


def tensors_of(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def problems_of(error: BlissmaskError) -> str:
    return "\n".join("\n".join([problem.what, *problem.where, str(problem.fix)]) for problem in error.problems)
