"""The trainable weights: LoRA layers in a frozen denoiser, their precision, and the limit of their norms.

**Precision.** Weights, gradients and optimiser are always float32. peft also converts the input of each layer to
float32. That keeps a second copy of the input for the backward pass, twice as large as the first, and leaves a GPU's
fast units idle. On a bfloat16 base the adapters therefore compute in bfloat16, as the layers that they adapt do. A
block of a 1.3B video model then keeps 66 bytes per token and width instead of 100. The gradient stays as close to that
of a float32 model, since the rounding of the base decides: 0.8 instead of 0.7 percent away, and 1.1 instead of 1.0, in
the miniatures of two video families (``tests/integration/train/memory/test_precision.py`` holds the bound). DoRA
computes in float32, because it divides by norms of the weights, whose rounding every output would show.

**Norms.** An update is ``scale * B @ A``, its size the Frobenius norm, as in sd-scripts and musubi-tuner. An update
that grows without bound memorises single pictures. Where it is too large, A and B are both multiplied by the square
root of the factor that brings it down. That depends on the weights alone, so a resumed run does the same.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from blissmask.errors import UsageError
from blissmask.families.protocol import Denoiser, FoldsPadding
from blissmask.training.lora import lokr_loha
from blissmask.training.lora.fused import ApartNames, FusedLayers
from blissmask.training.lora.lokr_loha import NetworkType
from blissmask.training.lora.norms import norm_ratio, output_norms, product_norm
from blissmask.training.lora.product import add_in_one_product
from blissmask.training.lora.targets import fused_targets, target_names
from blissmask.training.seeds import derive_seed

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
            for own, parameter in _trained_parameters(layer)
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


def _trained_parameters(layer: BaseTunerLayer) -> list[tuple[str, nn.Parameter]]:
    """Return (name, parameter) of an adapted layer, its frozen base aside."""
    return [(name, parameter) for name, parameter in layer.named_parameters() if not name.startswith(_BASE)]


def inject_lora(denoiser: Denoiser, shape: LoraShape, *, seed: int) -> Lora:
    """Freeze ``denoiser`` and put LoRA layers into it; B is zero, so predictions are unchanged.

    Args:
        denoiser: its ``module`` is changed in place.
        shape: how large the LoRA is, and where.
        seed: of the run; A depends on it alone.

    Raises:
        UsageError: a pattern is no regular expression, the patterns leave no layer, or they split a fused layer that
            DoRA needs whole.
    """
    module = denoiser.module
    module.requires_grad_(requires_grad=False)
    if shape.dropout and isinstance(denoiser, FoldsPadding):
        denoiser.folds_padding = False
    names = target_names(denoiser, include=shape.include, exclude=shape.exclude)
    linear = [(name, layer) for name, layer in denoiser.module.named_modules() if isinstance(layer, nn.Linear)]
    fused, apart = fused_targets(denoiser, linear, names, kind=shape.kind)
    plain_norms = _plain_norms(denoiser, linear, names, fused) if shape.dora else {}
    config = _peft_config(shape, "|".join(map(re.escape, names)))
    # peft draws from the global generators; the fork puts them back to where they were.
    devices = {parameter.device for parameter in module.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, "lora"))
        inject_adapter_in_model(config, module, ADAPTER)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}
    if shape.kind == "lokr":
        lokr_loha.use_scale_of_whole_factors(layers.values(), adapter=ADAPTER)
    lora = Lora(shape, layers, denoiser.original_name, fused, apart, plain_norms)
    for _, parameter in lora.named_parameters():
        # On a bfloat16 base peft makes bfloat16 adapters, in which the updates of an optimiser vanish by rounding.
        parameter.data = parameter.data.float()
        parameter.requires_grad_()
    if shape.dora:
        measure_norms(layers.values())
    elif shape.kind == "lora":
        add_in_one_product(layers.values(), adapter=ADAPTER)
    else:
        compute_like_base(layers.values())
    return lora


def _peft_config(shape: LoraShape, targets: str) -> Any:
    if shape.kind != "lora":
        return lokr_loha.peft_config(
            shape.kind, rank=shape.rank, alpha=shape.alpha, factor=shape.factor, targets=targets
        )
    return LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        use_rslora=shape.rank_stabilised,
        use_dora=shape.dora,
        target_modules=targets,
    )


def drop_unreached(lora: Lora, module: nn.Module) -> list[str]:
    """Remove the layers that a backward pass has just left without a gradient, and clear the gradients of the others.

    Some models discard the text stream of their last block. Adapters there never train, take space, and stop
    distributed training, which waits for their gradients.

    Returns:
        Names of the removed layers.
    """
    dropped = [
        name
        for name, layer in lora.layers.items()
        if all(parameter.grad is None for _, parameter in _trained_parameters(layer))
    ]
    if lora.shape.dora:
        for name in dropped:
            # Nothing was trained yet: these are the norms of the frozen weight.
            norms = lora.layers[name].lora_magnitude_vector[ADAPTER].weight
            lora.plain_norms[lora.original_name(name)] = norms.detach().cpu()
    _remove_layers(lora, module, dropped)
    for _, parameter in lora.named_parameters():
        parameter.grad = None
    return dropped


def _remove_layers(lora: Lora, module: nn.Module, names: Iterable[str]) -> None:
    """Put the frozen layers back in the place of adapted ones."""
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, lora.layers.pop(name).get_base_layer())


def follow_lora(followed: Lora, lora: Lora, module: nn.Module) -> None:
    """Let the LoRA of ``module``, another model of the same family, be ``followed``, layers that it lacks left out.

    Raises:
        UsageError: the models differ in size.
    """
    _remove_layers(lora, module, lora.layers.keys() - followed.layers.keys())
    shapes, theirs = ({name: value.shape for name, value in one.named_parameters()} for one in (lora, followed))
    if shapes != theirs:
        different = next(iter(sorted(shapes.items() ^ theirs.items())))[0]
        raise UsageError(
            f"the model that draws previews has another size than the one that is trained, e.g. at `{different}`",
            fix="give a file of the same size as `preview_dit`",
        )
    share_lora(followed, lora)


def share_lora(first: Lora, second: Lora) -> None:
    """Let both train the parameters of ``first``; both denoisers have the same layers."""
    for name, layer in second.layers.items():
        for own, parameter in _trained_parameters(first.layers[name]):
            parent, _, child = own.rpartition(".")
            # The same Parameter object in both: one optimiser moves both, and gradients of both add up in it.
            setattr(layer.get_submodule(parent), child, parameter)


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


def _plain_norms(
    denoiser: Denoiser, linear: Sequence[tuple[str, nn.Linear]], names: Sequence[str], fused: FusedLayers
) -> dict[str, Tensor]:
    """Return the norms of the parts of fused layers that are not adapted: DoRA's file holds a norm of every output."""
    wanted = {f"{whole}:{part}" for whole, parts in fused.items() for part, _ in parts}
    return {
        denoiser.original_name(name): output_norms(layer.weight).cpu()
        for name, layer in linear
        if name not in names and denoiser.original_name(name) in wanted
    }


def compute_like_base(layers: Iterable[BaseTunerLayer]) -> None:
    """Let LoKr and LoHa of bfloat16 layers compute in bfloat16; others stay as they are.

    Call it before weights are quantised: afterwards their dtype is that of the storage.
    """
    for layer in layers:
        if layer.get_base_layer().weight.dtype == torch.bfloat16:
            layer.cast_input_dtype_enabled = False
            layer.forward = _in_bfloat16(layer.forward)


def measure_norms(layers: Iterable[BaseTunerLayer]) -> None:
    """Take DoRA's norms again, in float32.

    peft takes them in the precision of the weights. Norms of 16-bit weights are rounded, and would scale every output
    by up to 0.4 percent.

    Args:
        layers: their update is still zero.
    """
    with torch.no_grad():
        for layer in layers:
            norms = output_norms(layer.get_base_layer().weight)
            for magnitude in layer.lora_magnitude_vector.values():
                magnitude.weight.copy_(norms)


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    def compute(inputs: torch.Tensor, *rest: Any, **options: Any) -> Any:
        # Autocast surrounds this layer alone. Norms, modulation and time embeddings are float32 on purpose, and
        # autocast around the model would round what they multiply.
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return forward(inputs, *rest, **options)

    return compute


@torch.no_grad()
def limit_norms(lora: Lora, limit: float) -> dict[str, Tensor]:
    """Shrink the layers whose update is larger than ``limit``, in place, without waiting for the device.

    Args:
        lora: of kind ``lora``; it has at least one layer.
        limit: > 0.

    Returns:
        Over all layers: ``norm/mean`` and ``norm/max`` of the updates afterwards, and ``norm/limited``, the number of
        layers that were shrunk.
    """
    norms = []
    for _, layer in sorted(lora.layers.items()):
        a_rI, b_Or = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        norm = lora.shape.scaling * product_norm(a_rI, b_Or)
        # A layer whose update is 0 gives infinity here, and the clamp makes that 1.
        shrink = (limit / norm).clamp(max=1.0).sqrt()
        a_rI.mul_(shrink)
        b_Or.mul_(shrink)
        norms.append(norm)
    before = torch.stack(norms)
    after = before.clamp(max=limit)
    return {"norm/mean": after.mean(), "norm/max": after.max(), "norm/limited": (before > limit).sum()}
