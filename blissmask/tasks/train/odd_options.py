"""Warn of options that can be, and hardly are what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from blissmask.config.fields.option import unusual_numbers
from blissmask.config.model import Config
from blissmask.config.sections.lora_section import LoraSection
from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.errors import Problem
from blissmask.families.family import FamilyForTask
from blissmask.families.files.lora_readers import PartReader, part_readers
from blissmask.families.protocol import Expert
from blissmask.training.experts import expert_of
from blissmask.training.lora.convert import block_count
from blissmask.training.lora.formats import LoraFormat, layer_key
from blissmask.training.lora.names import layer_names, trained_in_miniature

_MOST_SCALE = 16
"""Alpha over rank above which a LoRA hardly trains: 1 and 2 are usual, rsLoRA has 5.7 at rank 32 and alpha 32."""
_LEAST_FACTOR = 0.1
"""Such an optimiser takes a factor near 1. Whoever types a usual learning rate, 1e-4 or so, means something else."""


def number_warnings(config: Config) -> list[Problem]:
    """Warn of numbers that fit their range and make no sense, such as a learning rate of 2e4."""
    problems = _factor_warning(config.optimizer) + _scale_warning(config.lora)
    for section in (config.optimizer, config.mask_loss, config.timesteps):
        for name, (low, high) in unusual_numbers(section).items():
            # Of such an optimiser it is a factor, see above.
            if name == "learning_rate" and config.optimizer.finds_its_rate:
                continue
            value = getattr(section, name)
            what = f"`{name} = {value:g}` makes no sense: {low:g} to {high:g} is what can work"
            problems.append(Problem(what, fix=_other_exponent(value, low, high)))
    return problems


def _scale_warning(section: LoraSection) -> list[Problem]:
    """Warn of an alpha that makes updates so much larger than the rank does that no learning rate fits."""
    alpha, rank = section.network_alpha, section.network_dim
    # LoKr takes an immense rank for factors that are whole, where alpha does not count.
    if alpha is None or section.network_type == "lokr" or alpha <= _MOST_SCALE * rank:
        return []
    what = f"`network_alpha = {alpha:g}` is {alpha / rank:g} times the rank, and makes updates as many times larger"
    return [Problem(what, fix=f"leave it out, and it is the rank, {rank}")]


def _factor_warning(section: OptimizerSection) -> list[Problem]:
    """Warn of a factor that keeps an optimiser that finds its own learning rate from learning anything."""
    if not section.finds_its_rate or _LEAST_FACTOR <= section.learning_rate <= 1 / _LEAST_FACTOR:
        return []
    what = (
        f"{section.optimizer_type} finds its learning rate alone "
        f"and multiplies it by `learning_rate = {section.learning_rate:g}`"
    )
    return [Problem(what, fix="leave `learning_rate` out, or set it to 1")]


def _other_exponent(value: float, low: float, high: float) -> str:
    """Return the question whether a minus is missing: 2e4 for 2e-4."""
    digits, _, exponent = f"{value:e}".partition("e")
    meant = float(f"{digits}e{-int(exponent)}")
    return f"did you mean {meant:g}?" if low <= meant <= high else ""


def expert_warnings(config: Config, trained: Sequence[Expert]) -> list[Problem]:
    """Warn of LoRA files that are one expert's, where another one is trained, or both.

    The files of both experts fit both, and only their names tell them apart.
    """
    names = [expert.name for expert in trained]
    if not any(names):
        return []
    starting, problems = " and ".join(names), []
    uses = [(path, "network_weights", "starts from it") for path in (config.lora.network_weights,) if path]
    uses += [(path, "base_weights", "is trained on top of it") for path in config.lora.base_weights]
    for path, option, use in uses:
        made_for = expert_of(path)
        if made_for is not None and names != [made_for]:
            what = f"`{option}` is of the {made_for}-noise expert, and the {starting}-noise expert {use}"
            fix = f"give it its own LoRA, or train the other one with `--expert {made_for}`"
            problems.append(Problem(what, (str(path),), fix))
    return problems


def part_reader_warnings(readers: Sequence[PartReader]) -> list[Problem]:
    """Warn of programs that would use a part of the LoRA; they say nothing of it themselves."""
    warnings = []
    for reader in readers:
        if reader.whole_in:
            fix = f"for {reader.program} take {' or '.join(f'`--lora-format {name}`' for name in reader.whole_in)}"
        elif reader.whole_as_lora:
            fix = (
                f"for {reader.program} train with `--network-type lora`, "
                "or make a LoRA of it afterwards, with `--convert-lora FILE --rank N`"
            )
        else:
            fix = "load it in another program"
        what = f"{reader.program} would use a part of this LoRA and leave out the other layers"
        warnings.append(Problem(what, (f"it does not find `{reader.missed}`",), fix))
    return warnings


def lora_part_readers(config: Config, family: FamilyForTask) -> list[PartReader]:
    """Return the programs that would use a part of the LoRA, as it will be written.

    Its layers are told by those of the miniature, of which the patterns of a training may leave none.
    """
    lora, wanted = config.lora, config.saving.lora_format
    factored = lora.network_type != "lora"
    if not factored and wanted == "native":
        # ComfyUI reads it whole, of every family, and no other program a part of it.
        return []
    trained = trained_in_miniature(family, include=lora.include_patterns, exclude=lora.exclude_patterns)
    names = layer_names(family, block_count=block_count(trained))

    def keys(spelling: LoraFormat, *, factored: bool) -> list[str]:
        spelled = (layer_key(name, spelling, names.modules, names.apart, factored=factored) for name in trained)
        return list(dict.fromkeys(spelled))

    return part_readers(
        family.lora_readers,
        wanted,
        {
            name: keys(name, factored=factored)
            for name in get_args(LoraFormat)
            if not (factored and name == "diffusers")
        },
        names.modules,
        as_lora=keys("native", factored=False) if factored else [],
    )
