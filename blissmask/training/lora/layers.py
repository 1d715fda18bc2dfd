"""The trainable weights: LoRA layers put into a frozen denoiser, in float32 whatever the denoiser's precision."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from blissmask.errors import UsageError
from blissmask.families.protocol import Denoiser
from blissmask.training.lora import lokr_loha
from blissmask.training.lora.fused import FusedLayers, find_fused
from blissmask.training.lora.lokr_loha import NetworkType
from blissmask.training.seeds import derive_seed

ADAPTER = "default"


@dataclass(frozen=True, slots=True)
class LoraShape:
    """How large and where.

    Attributes:
        rank: >= 1.
        alpha: > 0; the update is scaled by ``alpha / rank`` (by ``alpha / sqrt(rank)`` when rank-stabilised).
        dropout: share of a layer's inputs dropped in training, [0, 1).
        rank_stabilised: see ``alpha``; keeps the update's size at high ranks (rsLoRA).
        dora: also train the norm of each output (DoRA).
        include: regular expressions, full match on the original name; linear layers that match are adapted too.
        exclude: regular expressions; what matches is not adapted.
        kind: LoRA or one of its relatives; see :mod:`lokr_loha`.
        factor: of LoKr.
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
        """Return what the product of the two matrices is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


@dataclass(slots=True)
class Lora:
    """The LoRA layers in one denoiser.

    Attributes:
        shape: how large.
        layers: module name in the denoiser -> its LoRA layer.
        original_name: module name -> the original repository's name, which files use.
        fused: layers of which the original keeps several in one.
    """

    shape: LoraShape
    layers: dict[str, BaseTunerLayer]
    original_name: Callable[[str], str]
    fused: FusedLayers

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return (name, parameter) of everything that trains, in a fixed order."""
        return [
            (f"{name}.{own}", parameter)
            for name, layer in sorted(self.layers.items())
            for own, parameter in layer.named_parameters()
            if not own.startswith("base_layer.")
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
        """Return original name -> DoRA's norms (outputs,), empty without DoRA."""
        if not self.shape.dora:
            return {}
        return {
            self.original_name(name): layer.lora_magnitude_vector[ADAPTER].weight.detach()
            for name, layer in sorted(self.layers.items())
        }


def inject_lora(denoiser: Denoiser, shape: LoraShape, *, seed: int) -> Lora:
    """Freeze ``denoiser`` and put LoRA layers into it; B is zero, so predictions are unchanged.

    Args:
        denoiser: its ``module`` is changed in place.
        shape: how large and where.
        seed: of the run; A is drawn from it and from nothing else.

    Raises:
        UsageError: the patterns leave no layer, are no regular expressions, or split a fused layer that DoRA needs
            whole.
    """
    module = denoiser.module
    module.requires_grad_(requires_grad=False)
    names = _target_names(denoiser, shape)
    fused = _fused_layers(denoiser, names, shape)
    config = _peft_config(shape, "|".join(map(re.escape, names)))
    # peft draws from the global generator; the fork keeps everyone else's state as it was.
    devices = {parameter.device for parameter in module.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, "lora"))
        inject_adapter_in_model(config, module, ADAPTER)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}
    lora = Lora(shape, layers, denoiser.original_name, fused)
    for _, parameter in lora.named_parameters():
        # On a bfloat16 base peft makes bfloat16 adapters, whose updates vanish in rounding.
        parameter.data = parameter.data.float()
        parameter.requires_grad_()
    if shape.dora:
        measure_norms(layers.values())
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

    The last block's text stream of Qwen-Image and HunyuanVideo 1.5 is thrown away by the model; adapters there never
    train, only take space, and stop distributed training.

    Returns:
        Names of the removed layers.
    """
    dropped = [
        name
        for name, layer in lora.layers.items()
        if all(
            parameter.grad is None for own, parameter in layer.named_parameters() if not own.startswith("base_layer.")
        )
    ]
    for name in dropped:
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, lora.layers.pop(name).get_base_layer())
    for _, parameter in lora.named_parameters():
        parameter.grad = None
    return dropped


def share_lora(first: Lora, second: Lora) -> None:
    """Let ``second`` train the very parameters of ``first``; both denoisers have the same layers."""
    for name, layer in second.layers.items():
        for own, parameter in list(first.layers[name].named_parameters()):
            if own.startswith("base_layer."):
                continue
            parent, _, child = own.rpartition(".")
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


def check_patterns(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    """Return the regular expressions of layer names. Raises UsageError when one of ``patterns`` is none."""
    try:
        return [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise UsageError(
            f"`{error.pattern!s}` is not a regular expression: {error}", fix="correct the pattern"
        ) from error


def _target_names(denoiser: Denoiser, shape: LoraShape) -> list[str]:
    default = re.compile(denoiser.lora_targets)
    include, exclude = check_patterns(shape.include), check_patterns(shape.exclude)
    linear = [name for name, module in denoiser.module.named_modules() if isinstance(module, nn.Linear)]
    names = []
    for name in linear:
        original = denoiser.original_name(name) if default.fullmatch(name) or include or exclude else name
        wanted = default.fullmatch(name) is not None and not _any_match(exclude, original)
        if wanted or _any_match(include, original):
            names.append(name)
    if not names:
        raise UsageError(
            "the LoRA would adapt no layer",
            where=[f"{len(linear)} linear layers, e.g. {', '.join(linear[:3])}"],
            fix="loosen `exclude_patterns`, or name layers with `include_patterns`",
        )
    return names


def _fused_layers(denoiser: Denoiser, names: Sequence[str], shape: LoraShape) -> FusedLayers:
    linear = [
        (denoiser.original_name(name), layer)
        for name, layer in denoiser.module.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    adapted = {denoiser.original_name(name) for name in names}
    fused = find_fused(linear, adapted)
    torn = [whole for whole, parts in fused.items() if any(f"{whole}:{part}" not in adapted for part, _ in parts)]
    if fused and shape.kind != "lora":
        raise UsageError(
            f"`{next(iter(fused))}` is one layer in this family's own files, and a {shape.kind} of its parts cannot be written as one",
            fix="use `--network-type lora` for this family",
        )
    if torn and shape.dora:
        raise UsageError(
            f"DoRA needs the norm of every output of `{torn[0]}`, and the patterns leave a part of it out",
            fix="adapt all its parts, or train without `--use-dora`",
        )
    return fused


def _any_match(patterns: Sequence[re.Pattern[str]], name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in patterns)


def compute_like_base(layers: Iterable[BaseTunerLayer]) -> None:
    """Let the adapters of bfloat16 layers compute in bfloat16; others stay as they are.

    Call before weights are quantised.
    """
    for layer in layers:
        if layer.get_base_layer().weight.dtype == torch.bfloat16:
            layer.cast_input_dtype_enabled = False
            layer.forward = _in_bfloat16(layer.forward)


def measure_norms(layers: Iterable[BaseTunerLayer]) -> None:
    """Take DoRA's norms again, in float32: those that peft took of 16-bit weights are rounded, and scale every output by up to 0.4 percent.

    Args:
        layers: whose update is still zero.
    """
    with torch.no_grad():
        for layer in layers:
            weight = layer.get_base_layer().weight
            for magnitude in layer.lora_magnitude_vector.values():
                magnitude.weight.copy_(torch.linalg.norm(weight.float(), dim=1))


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    def compute(inputs: torch.Tensor, *rest: Any, **options: Any) -> Any:
        # Around the layer alone: norms, modulation and time embeddings are float32 on purpose, and autocast would round
        # what they multiply.
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return forward(inputs, *rest, **options)

    return compute


@torch.no_grad()
def limit_norms(lora: Lora, limit: float) -> dict[str, Tensor]:
    """Shrink the layers whose update is larger than ``limit``, in place; nothing waits for the device.

    Args:
        lora: of kind ``lora``; it has at least one layer.
        limit: > 0.

    Returns:
        Over all layers: ``norm/mean`` and ``norm/max`` of the updates after it, and ``norm/limited``, how many were
            shrunk.
    """
    norms = []
    for _, layer in sorted(lora.layers.items()):
        a_rI, b_Or = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        norm = lora.shape.scaling * product_norm(a_rI, b_Or)
        # A layer of zeros gives infinity here, which the clamp makes 1.
        shrink = (limit / norm).clamp(max=1.0).sqrt()
        a_rI.mul_(shrink)
        b_Or.mul_(shrink)
        norms.append(norm)
    before = torch.stack(norms)
    after = before.clamp(max=limit)
    return {"norm/mean": after.mean(), "norm/max": after.max(), "norm/limited": (before > limit).sum()}


def product_norm(a_rI: Tensor, b_Or: Tensor) -> Tensor:
    """Return the Frobenius norm of ``B @ A`` from two matrices of the rank's size, since the product has that of the layer.

    Args:
        a_rI: A, (rank, inputs).
        b_Or: B, (outputs, rank).
    """
    return ((a_rI @ a_rI.T) * (b_Or.T @ b_Or)).sum().clamp(min=0.0).sqrt()
