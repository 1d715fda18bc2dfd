"""Which programs would read a part of a LoRA file that is to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from torch import Tensor

from blissmask.errors import Problem
from blissmask.families.family import Family
from blissmask.families.files.lora_readers import part_readers
from blissmask.tasks.convert_lora.combination import Combination
from blissmask.training.lora.convert import block_count, is_factored, spelled_layers
from blissmask.training.lora.formats import LoraFormat
from blissmask.training.lora.names import LayerNames, layer_names


def partly_read(
    family: Family,
    files: Sequence[Mapping[str, Tensor]],
    file_format: LoraFormat,
    source: Path,
    combination: Combination | None,
) -> list[Problem]:
    """Return a warning for each program that would find some of the layers of the new file and leave out the others.

    Args:
        family: the model family that the LoRA is for.
        files: tensors of the files that are converted or combined.
        file_format: the spelling to write.
        source: the first file, for messages.
        combination: what is done with the files; None where one is spelled another way alone.
    """
    paths = (source,) if combination is None else combination.paths
    named = list(zip(paths, files, strict=True))
    names = layer_names(family, block_count=max(block_count(tensors) for tensors in files))
    # A lower rank makes a LoRA of them.
    factored = (combination is None or combination.rank is None) and is_factored(files[0])
    if factored and file_format == "diffusers":
        # diffusers has no spelling for them, so that no program reads it.
        return []
    possible = [name for name in get_args(LoraFormat) if not (factored and name == "diffusers")]
    spelled = {name: _layers(named, name, names, factored=factored) for name in possible}
    as_lora = _layers(named, file_format, names, factored=False) if factored else []
    warnings = []
    for reader in part_readers(family.lora_readers, file_format, spelled, names.modules, as_lora=as_lora):
        fix = "load it in another program"
        if reader.whole_in:
            formats = " or ".join(f"`--lora-format {name}`" for name in reader.whole_in)
            fix = f"for {reader.program} take {formats}"
        elif reader.whole_as_lora:
            fix = f"for {reader.program} make it a LoRA, with `--rank N`"
        what = reader.describe("the new file")
        warnings.append(Problem(what, (str(source), f"it does not find `{reader.missed}`"), fix))
    return warnings


def _layers(
    files: Sequence[tuple[Path, Mapping[str, Tensor]]], file_format: LoraFormat, names: LayerNames, *, factored: bool
) -> list[str]:
    """Return the layers of all files in a spelling, each once, in their order."""
    layers: dict[str, None] = {}
    for path, tensors in files:
        layers |= dict.fromkeys(spelled_layers(tensors, file_format, names, path, factored=factored))
    return list(layers)
