"""A LoRA in a denoiser: its size, its layers, and the parameters that train."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from blissmask.training.lora.fused import ApartNames, FusedLayers
from blissmask.training.lora.lokr_loha import NetworkType
from blissmask.training.lora.norms import norm_ratio

ADAPTER = "default"
"""peft's name of the one adapter in each layer."""
_BASE = "base_layer."
"""How peft begins the names of the parameters of the frozen layer inside an adapted one."""


@dataclass(frozen=True, slots=True)
class LoraShape:
    """How large a LoRA is, and which layers it adapts.

    Attributes:
        rank: >= 1.
        alpha: > 0; the update is scaled by ``alpha / rank`` (by ``alpha / sqrt(rank)`` when rank-stabilised).
        dropout: share of a layer's inputs that is dropped in training, [0, 1).
        rank_stabilised: see ``alpha``; keeps the update's size at high ranks (rsLoRA).
        dora: also train the norm of each output (DoRA).
        include: regular expressions; linear layers whose original name matches fully are adapted, too.
        exclude: regular expressions; layers that match are not adapted.
        kind: LoRA or one of its relatives; see :mod:`lokr_loha`.
        factor: LoKr's; see ``lokr_loha.peft_config``.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    rank_stabilised: bool = False
    dora: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    kind: NetworkType = "lora"
    factor: int = -1

    @property
    def scaling(self) -> float:
        """Return the factor of the product of the two matrices."""
        if self.rank_stabilised:
            return self.alpha / math.sqrt(self.rank)
        return self.alpha / self.rank


@dataclass(slots=True)
class Lora:
    """The LoRA layers in one denoiser.

    Attributes:
        shape: how large they are.
        layers: module name in the denoiser -> its LoRA layer.
        original_name: module name -> name in the original repository, which files use.
        fused: layers that are one layer in the original; see :mod:`fused`.
        apart: names of their parts where kohya files keep them apart.
        plain_norms: for DoRA, original name -> norm of each output of the frozen weight, of the parts of ``fused`` that
            are not adapted, on the CPU.
    """

    shape: LoraShape
    layers: dict[str, BaseTunerLayer]
    original_name: Callable[[str], str]
    fused: FusedLayers
    apart: ApartNames = field(default_factory=dict)
    plain_norms: dict[str, Tensor] = field(default_factory=dict)

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return (name, parameter) of everything that trains, in a fixed order."""
        return [
            (f"{name}.{own}", parameter)
            for name, layer in sorted(self.layers.items())
            for own, parameter in trained_parameters(layer)
        ]

    def matrices(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return original name -> (A of shape (rank, inputs), B of shape (outputs, rank)), detached."""
        return {
            self.original_name(name): (layer.lora_A[ADAPTER].weight.detach(), layer.lora_B[ADAPTER].weight.detach())
            for name, layer in sorted(self.layers.items())
        }

    def modules(self) -> dict[str, str]:
        """Return original name -> module name of every layer."""
        return {self.original_name(name): name for name in sorted(self.layers)}

    def magnitudes(self) -> dict[str, Tensor]:
        """Return original name -> DoRA's norms (outputs,), detached; empty without DoRA."""
        if not self.shape.dora:
            return {}
        return {
            self.original_name(name): layer.lora_magnitude_vector[ADAPTER].weight.detach()
            for name, layer in sorted(self.layers.items())
        }

    def norm_ratios(self) -> dict[str, Tensor]:
        """Return original name -> ``|W| / |W + scale * B @ A|`` of each output, float32 on the CPU; for DoRA.

        All processes of a run whose weights are spread call it together; blocks that rest in CPU memory must be
        :meth:`readable <blissmask.training.experts.Learner.readable>`.
        """
        return {
            self.original_name(name): norm_ratio(
                layer.get_base_layer().weight,
                layer.lora_A[ADAPTER].weight,
                layer.lora_B[ADAPTER].weight,
                scale=self.shape.scaling,
            )
            for name, layer in sorted(self.layers.items())
        }


def trained_parameters(layer: BaseTunerLayer) -> list[tuple[str, nn.Parameter]]:
    """Return (name, parameter) of an adapted layer, its frozen base aside."""
    return [(name, parameter) for name, parameter in layer.named_parameters() if not name.startswith(_BASE)]


@contextlib.contextmanager
def adapters_off(lora: Lora) -> Iterator[None]:
    """Predict as the base model does, without dropout and without gradients."""
    for layer in lora.layers.values():
        layer.enable_adapters(enabled=False)
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in lora.layers.values():
            layer.enable_adapters(enabled=True)
