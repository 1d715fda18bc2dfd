"""What `--convert-lora` combines: the files, their strengths, and the rank of the result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from blissmask.cachefile.metadata import OURS
from blissmask.config.sections.saving_section import CombineSection
from blissmask.errors import Problem, UsageError
from blissmask.families.family import Family
from blissmask.plurals import counted
from blissmask.storage.content import file_sha256
from blissmask.training.experts import expert_of
from blissmask.training.lora.combine import (
    LoraPart,
    average_loras,
    lower_rank,
    merge_loras,
    refuse_norms,
    refuse_unmergeable,
)
from blissmask.training.lora.convert import (
    adapted_fused,
    convert_lora,
    describe_lora,
    in_parts,
    refuse_inconvertible,
    refuse_whole_factors,
)
from blissmask.training.lora.dora_norms import has_norms
from blissmask.training.lora.formats import LoraFormat, format_of, to_format
from blissmask.training.lora.names import LayerNames

_COMBINED = f"{OURS}combined"
"""Metadata key: the files that were combined, by name and hash, and how, as JSON."""


@dataclass(frozen=True, slots=True)
class Combination:
    """How LoRA files become one.

    Attributes:
        kind: None for one file whose rank is lowered.
        paths: the files; the first is the one of ``convert_lora``.
        strengths: of each.
        rank: highest of the result; None keeps what there is.
    """

    kind: Literal["average", "merge"] | None
    paths: tuple[Path, ...]
    strengths: tuple[float, ...]
    rank: int | None

    def describe(self) -> str:
        """Return what is done, for the plan."""
        done = "" if self.kind is None else f"{self.kind} of {counted(len(self.paths), 'file')}"
        lowered = "" if self.rank is None else f"rank {self.rank} at most"
        return ", ".join(filter(None, (done, lowered)))

    def metadata(self, hashes: Sequence[str]) -> dict[str, str]:
        """Return what the new file says of its making; ``hashes`` are those of the files."""
        files = [
            {"name": path.name, "sha256": content, "strength": strength}
            for path, content, strength in zip(self.paths, hashes, self.strengths, strict=True)
        ]
        return {_COMBINED: json.dumps({"kind": self.kind or "rank", "rank": self.rank, "files": files})}


@dataclass(frozen=True, slots=True)
class Combined:
    """The LoRA that was made of the files.

    Attributes:
        tensors: in the spelling that was wanted, or else in that of the first file.
        is_spelled: whether they are in the spelling that was wanted.
        kept: see ``combine.LowerRank``; empty where no rank was lowered.
    """

    tensors: dict[str, Tensor]
    is_spelled: bool
    kept: Mapping[str, float]


def wanted_combination(section: CombineSection, source: Path) -> Combination | None:
    """Return what the options ask for; None where the file is only spelled another way.

    Raises:
        UsageError: options exclude each other, or numbers do not fit.
    """
    others = [*section.average, *section.merge]
    if section.average and section.merge:
        raise UsageError("`average` and `merge` are two ways to make one LoRA", fix="give one of the two")
    if not others and section.rank is None:
        if section.strength:
            raise UsageError("`strength` has no files to weigh", fix="name them with `--average` or `--merge`")
        return None
    paths = (source, *others)
    if len(section.strength) > len(paths):
        raise UsageError(
            f"`strength` is given {len(section.strength)} times, and there are {counted(len(paths), 'file')}",
            fix="give one for each file, that of `--convert-lora` first",
        )
    strengths = (*section.strength, *[1.0] * (len(paths) - len(section.strength)))
    if section.average and min(strengths) <= 0:
        raise UsageError("a share of an average must be above 0", where=[f"strength = {min(strengths):g}"])
    kind: Literal["average", "merge"] | None = None
    if others:
        kind = "average" if section.average else "merge"
    return Combination(kind, paths, strengths, section.rank)


def check_files(
    combination: Combination,
    tensors: Sequence[Mapping[str, Tensor]],
    by_base: Sequence[bool],
    wanted: LoraFormat,
    names: LayerNames,
) -> None:
    """Refuse files that cannot be combined like this.

    Args:
        combination: how.
        tensors: of each file.
        by_base: whether the norms of each are divided by those of the frozen weights; see ``dora_norms``.
        wanted, names: as for :func:`combine`.

    Raises:
        UsageError: a file holds DoRA, LoKr or LoHa where that cannot be, or norms of two kinds.
        ModelError: a file is no whole LoRA in one of the three spellings, or holds LoKr or LoHa of a whole fused layer
            that would have to be taken apart.
    """
    for path, own in zip(combination.paths, tensors, strict=True):
        describe_lora(own, path)
        if combination.kind == "merge":
            refuse_unmergeable(own, path)
        elif combination.rank is not None:
            refuse_norms(own, path, "lowered in rank")
    _refuse_factors(combination, tensors, wanted, names)
    for path, own, own_by_base in zip(combination.paths, tensors, by_base, strict=True):
        is_other = format_of(own) != format_of(tensors[0]) or own_by_base != by_base[0]
        if has_norms(own) and is_other:
            raise UsageError(
                "these files hold the norms of DoRA in two ways",
                where=[combination.paths[0], path],
                fix="bring them to one spelling first, each with `--convert-lora FILE --lora-format FORMAT --dit FILE`",
            )


def _refuse_factors(
    combination: Combination, tensors: Sequence[Mapping[str, Tensor]], wanted: LoraFormat, names: LayerNames
) -> None:
    """Refuse LoKr and LoHa that a step of :func:`combine` would have to take apart, or could not spell."""
    spelling = format_of(tensors[0])
    assert spelling is not None
    for path, own in zip(combination.paths, tensors, strict=True):
        if combination.kind == "average" and format_of(own) != spelling:
            refuse_inconvertible(own, spelling, names, path)
        if combination.rank is not None:
            refuse_whole_factors(own, names, path)
    if combination.rank is None and spelling != wanted:
        refuse_inconvertible(tensors[0], wanted, names, combination.paths[0])


def expert_warnings(paths: Sequence[Path]) -> list[Problem]:
    """Warn of files of both experts, of which no one LoRA can be made."""
    experts = {expert_of(path) for path in paths} - {None}
    if len(experts) < 2:
        return []
    what = "these LoRA are of the high-noise and of the low-noise expert, by their names; each has its own file"
    return [Problem(what, tuple(map(str, paths)))]


def combine(
    combination: Combination,
    tensors: Sequence[Mapping[str, Tensor]],
    wanted: LoraFormat,
    names: LayerNames,
) -> Combined:
    """Combine files that :func:`check_files` let pass.

    Raises:
        UsageError: files of an average differ in layers, kind or rank.
        ModelError: a file holds layers that the family does not have, or of another size.
    """
    files = [
        LoraPart(path, own, strength)
        for path, own, strength in zip(combination.paths, tensors, combination.strengths, strict=True)
    ]
    if combination.kind == "average":
        spelling = describe_lora(files[0].tensors, files[0].path).file_format
        averaged = average_loras([_spelled(file, spelling, names) for file in files])
        if combination.rank is None:
            return Combined(averaged, is_spelled=spelling == wanted, kept={})
        files = [LoraPart(combination.paths[0], averaged, 1.0)]
    native: list[LoraPart] = []
    fused: dict[str, tuple[tuple[str, int], ...]] = {}
    for file in files:
        own, own_fused = in_parts(file.tensors, names, file.path)
        native.append(LoraPart(file.path, own, file.strength))
        fused |= own_fused
    made = merge_loras(native) if combination.kind == "merge" else dict(native[0].tensors)
    kept: Mapping[str, float] = {}
    if combination.rank is not None:
        lowered = lower_rank(made, fused, combination.rank)
        made, kept = lowered.tensors, lowered.kept
        # LoKr and LoHa are LoRA now, whose parts have outputs to be put together by.
        fused = dict(adapted_fused(made, names, files[0].path))
    spelled = to_format(made, wanted, names.modules, fused, names.apart, native_alpha=names.native_alpha)
    return Combined(spelled, is_spelled=True, kept=kept)


def hashes_of(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file."""
    return [file_sha256(path) for path in paths]


def refuse_other_family(named: Family | None, family: Family, path: Path) -> None:
    """Raise UsageError when the metadata of a file name another family than that of the first."""
    if named is not None and named.name != family.name:
        raise UsageError(
            f"this LoRA is for {named.name}, and the first one is for {family.name}",
            where=[path],
            fix="combine files of one family; `--arch` names it where the metadata are wrong",
        )


def _spelled(file: LoraPart, spelling: LoraFormat, names: LayerNames) -> LoraPart:
    if format_of(file.tensors) == spelling:
        return file
    return LoraPart(file.path, convert_lora(file.tensors, spelling, names, file.path), file.strength)
