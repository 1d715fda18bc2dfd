"""The tensors of a model file by name and shape, not read yet: the size of a model follows from them without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blissmask.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file, not read yet.

    Attributes:
        shape: as stored.
        read: returns the tensor on the CPU; fp8 comes back as float32 with its scale applied.
    """

    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    def rows(self, start: int, stop: int) -> StoredTensor:
        """Return rows ``start:stop`` as a stored tensor of their own, for weights that other layouts keep apart."""
        return StoredTensor((stop - start, *self.shape[1:]), lambda: self.read()[start:stop].clone())

    def halves_swapped(self) -> StoredTensor:
        """Return the second half of the rows before the first."""
        import torch

        return StoredTensor(self.shape, lambda: torch.cat(self.read().chunk(2)[::-1]))

    def reshaped(self, shape: tuple[int, ...]) -> StoredTensor:
        """Return the same numbers in another shape, for layouts that differ in axes of length one."""
        return StoredTensor(shape, lambda: self.read().reshape(shape))


Tensors = dict[str, StoredTensor]


def shape_of(tensors: Tensors, name: str, *, source: Path, kind: str) -> tuple[int, ...]:
    """Return the shape of tensor ``name``, from which a model's size is read.

    Raises:
        ModelError: there is none, so the file is no ``kind``.
    """
    if name not in tensors:
        raise ModelError(
            f"{source.name} is no {kind}: it holds no `{name}`",
            where=[source],
            fix="give the file of this model family",
        )
    return tensors[name].shape


def count_of(tensors: Tensors, prefix: str) -> int:
    """Return how many numbered modules stand directly below ``prefix``, e.g. 40 for ``blocks.``."""
    numbers = {name[len(prefix) :].partition(".")[0] for name in tensors if name.startswith(prefix)}
    return sum(number.isdecimal() for number in numbers)


def qkv_parts(name: str, tensor: StoredTensor, *, of: int = 3) -> Tensors:
    """Return query, key and value of a fused layer by themselves: ``X:q.weight``, ``X:k.weight`` and ``X:v.weight``.

    Args:
        name: of the layer's weight or bias, e.g. ``X.weight``.
        tensor: its rows are those of the query, the key and the value one after the other.
        of: number of equal parts that the rows consist of; those after the first three are left out.
    """
    module, _, kind = name.rpartition(".")
    part = tensor.shape[0] // of
    rows = {letter: tensor.rows(number * part, (number + 1) * part) for number, letter in enumerate("qkv")}
    return {f"{module}:{letter}.{kind}": stored for letter, stored in rows.items()}


def with_qkv_apart(tensors: Tensors, ending: str) -> Tensors:
    """Return the tensors with every fused layer whose name ends in ``ending`` taken apart, see :func:`qkv_parts`."""
    apart: Tensors = {}
    for name, tensor in tensors.items():
        is_fused = name.rpartition(".")[0].endswith(ending)
        apart.update(qkv_parts(name, tensor) if is_fused else {name: tensor})
    return apart


def scale_before_shift(tensors: Tensors, module: str) -> Tensors:
    """Return the tensors with the halves of a modulation in diffusers' order; others have shift before scale."""
    swapped = (f"{module}.weight", f"{module}.bias")
    return {name: tensor.halves_swapped() if name in swapped else tensor for name, tensor in tensors.items()}
