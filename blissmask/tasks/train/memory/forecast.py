"""Tell what GPUs a training fits and how long it takes, by the family's published sizes: before anything is downloaded.

Text encoders and the VAE are not counted: they have left the device when training begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import SUBJECTS, DatasetSection
from blissmask.dataset.clip_ranges import rounded_targets
from blissmask.dataset.collect import cache_folder, media_kind
from blissmask.dataset.item import MediaKind
from blissmask.errors import Problem
from blissmask.families.family import FamilyForTask
from blissmask.families.files.part import Part
from blissmask.families.registry import load_family
from blissmask.plurals import counted
from blissmask.tasks.run.plan import Explanation, Table
from blissmask.tasks.run.wording import hours_text
from blissmask.tasks.train.rules import lora_shape, memory_options, prior_rule, trigger_free_rule
from blissmask.training.cost import CARDS, SHARE_OF_PEAK, Card, Preservation, operations, seconds_of
from blissmask.training.experts import wanted_experts
from blissmask.training.memory.estimate import (
    Load,
    ModelSize,
    choose_options,
    estimate,
    resting_bytes,
    size_of,
)
from blissmask.training.memory.options import MemoryOptions

_GIB = 1 << 30
_BFLOAT16_BYTES = 2
_DESKTOP = 0.5
"""GiB of a card that a desktop takes."""
_USUAL_WH = (1024, 1024)
"""Training size where no data set says it: what the starters train at."""
_ASSUMPTIONS = (
    f"seconds are those of {SHARE_OF_PEAK:.0%} of the card's peak, without loading, previews, and waiting for swapped "
    "blocks; memory is a formula, not a measurement"
)


@dataclass(frozen=True, slots=True)
class Micro:
    """A micro-batch whose cost is forecast: ``tokens`` of latents and captions together, of ``items``."""

    tokens: int
    items: int


def forecast(config: Config, family: FamilyForTask, command: str) -> Explanation:
    """Return what a training of ``family`` would need, without a cache and without model files."""
    sizes = [published_size(expert.part) for expert in wanted_experts(family.experts, config.train.expert)]
    width, height, frames, micro = _largest(config, family)
    clip = f", {frames} frames" if frames > 1 else ""
    rows = [
        ("family", f"{family.name}, {family.task_name}"),
        ("denoiser, as published", " and ".join(f"{_weights(size) / 1e9:.1f} billion weights" for size in sizes)),
        ("trained at", f"{width} x {height}{clip}, {micro.tokens} tokens, {counted(micro.items, 'item')} at a time"),
        _length(config),
        ("operations per step", f"{_work(config, sizes[0], micro, recomputes=True):.2g}"),
    ]
    tables = [Table("Forecast", ("Setting", "Value"), tuple(rows))]
    if all(size.blocks for size in sizes):
        tables.append(card_table(config, sizes, micro, memory_options(config.memory)))
    what = "there is no cache of this family yet, so this is a forecast by the published size of the family"
    return Explanation(
        command,
        tables=tables,
        warnings=[Problem(what, (), _ASSUMPTIONS)],
        details={"operations_per_step": _work(config, sizes[0], micro, recomputes=True)},
    )


def _length(config: Config) -> tuple[str, str]:
    """Return how long is trained; how many steps epochs have is known with the items."""
    if config.train.max_train_epochs:
        return "epochs", str(config.train.max_train_epochs)
    return "steps", str(config.train.max_train_steps)


def is_cached(config: Config) -> bool:
    """Return whether any data set has cache files of the family that is named, or any where none is."""
    arch = config.model.arch
    pattern = "*.safetensors" if arch is None else f"*_{load_family(arch).cache_suffix}.safetensors"
    folders = [cache_folder(section, number) for number, section in enumerate(config.datasets, 1)]
    return any(any(folder.glob(pattern)) for folder in folders)


def card_table(config: Config, sizes: Sequence[ModelSize], micro: Micro, given: MemoryOptions) -> Table:
    """Return a row for each usual size of GPU: what ``memory = "auto"`` picks there, and how long the steps take.

    Args:
        config: of the training.
        sizes: of the denoisers that are trained.
        micro: its largest micro-batch.
        given: the memory options that the user gave.
    """
    load = Load(
        tokens=micro.tokens,
        weight_bytes=_BFLOAT16_BYTES,
        on_gpu=True,
        lora=lora_shape(config.lora),
        shared_lora=config.train.shared_lora,
    )
    rows = []
    for card in CARDS:
        options, fits = choose_options(sizes, given, load, free=int((card.gib - _DESKTOP) * _GIB))
        if not fits:
            rows.append((_name(card), "does not fit", "", "", "", ""))
            continue
        seconds = seconds_of(_work(config, sizes[0], micro, recomputes=options.gradient_checkpointing), card)
        rows.append(
            (
                _name(card),
                _picked(options),
                f"{estimate(sizes, options, load) / _GIB:.0f} GiB",
                f"{resting_bytes(sizes, (), options, load) / _GIB:.0f} GiB",
                f"{seconds:.2g} s",
                "" if config.train.max_train_epochs else hours_text(seconds * config.train.max_train_steps),
            )
        )
    columns = ("GPU", "Picked", "Needs", "CPU memory", "A step", "All steps")
    return Table('By GPU, with `memory = "auto"`', columns, tuple(rows))


def _picked(options: MemoryOptions) -> str:
    """Return what makes the training smaller, short enough for a table."""
    words = {
        "checkpointing": options.gradient_checkpointing,
        "experts in turn": options.offload_inactive_dit,
        "int8": options.int8_base,
        "float8": options.fp8_base,
        "4 bits": options.nf4_base,
        f"swap {options.blocks_to_swap}": options.blocks_to_swap,
    }
    return ", ".join(word for word, is_on in words.items() if is_on) or "nothing is needed"


def published_size(part: Part) -> ModelSize:
    """Return the size of the released denoiser, without its files; of no blocks where it is not known."""
    return size_of(part.published_shapes())


def _name(card: Card) -> str:
    return f"{card.gib} GB ({card.name})"


def _weights(size: ModelSize) -> int:
    return size.block_weights + size.other_weights


def _work(config: Config, size: ModelSize, micro: Micro, *, recomputes: bool) -> float:
    """Return the operations of an optimiser step."""
    # How many items a `prior` data set has is not known here; they count as the others.
    prior, trigger_free = prior_rule(config.mask_loss), trigger_free_rule(config.mask_loss)
    held = Preservation.of(
        outside_share=0.0 if prior is None else prior.share,
        class_share=0.0 if trigger_free is None else trigger_free.share,
        only_held=0.0,
    )
    work = operations(size, tokens=micro.tokens, items=micro.items, recomputes=recomputes, held=held)
    return work * config.train.gradient_accumulation_steps


def _largest(config: Config, family: FamilyForTask) -> tuple[int, int, int, Micro]:
    """Return width, height and frames of the largest item of any data set, and its micro-batch."""
    sections = config.datasets or (_from_general(config),)
    found = []
    for number, section in enumerate(sections, 1):
        frames = _frames(section, number, family) if config.datasets else 1
        tokens = _tokens(section.resolution, frames, family) + text_rows(family)
        found.append((*section.resolution, frames, Micro(tokens * section.batch_size, section.batch_size)))
    return max(found, key=lambda entry: entry[3].tokens)


def _from_general(config: Config) -> DatasetSection:
    fields = {"resolution": _USUAL_WH, **config.general.model_dump(exclude_none=True)}
    return DatasetSection.model_validate(fields, context={SUBJECTS: [subject.name for subject in config.subjects]})


def _frames(section: DatasetSection, number: int, family: FamilyForTask) -> int:
    if media_kind(section, number) is MediaKind.IMAGE:
        return 1
    return max(rounded_targets(section.target_frames, family.latent.temporal_stride))


def _tokens(size_wh: tuple[int, int], frames: int, family: FamilyForTask) -> int:
    latent = family.latent
    cells = [side // latent.grid_multiple for side in size_wh]
    return ((frames - 1) // latent.temporal_stride + 1) * cells[0] * cells[1]


def text_rows(family: FamilyForTask) -> int:
    """Return the rows of captions that have a fixed number of them: those stand beside the latents in every block.

    The most that there can be: HunyuanVideo leaves out the rows that no caption of a batch fills, and how many each
    fills stands in the mask of its text, of which a plan reads no more than the header. Its forecasts of memory and
    time are a little high, and never too low.
    """
    return sum(rows for rows, *width in family.task.text_contents.values() if width and isinstance(rows, int))
