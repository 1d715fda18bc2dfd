"""Put LoRA layers into a frozen denoiser, and take out those that never train."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from blissmask.families.protocol import Denoiser, FoldsPadding
from blissmask.training.lora import lokr_loha
from blissmask.training.lora.fused import FusedLayers
from blissmask.training.lora.layers.lora import ADAPTER, Lora, LoraShape, trained_parameters
from blissmask.training.lora.layers.precision import compute_like_base
from blissmask.training.lora.layers.product import add_in_one_product
from blissmask.training.lora.layers.targets import fused_targets, target_names
from blissmask.training.lora.norms import output_norms
from blissmask.training.seeds import derive_seed


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
        _measure_norms(layers.values())
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


def _measure_norms(layers: Iterable[BaseTunerLayer]) -> None:
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
        if all(parameter.grad is None for _, parameter in trained_parameters(layer))
    ]
    if lora.shape.dora:
        for name in dropped:
            # Nothing was trained yet: these are the norms of the frozen weight.
            norms = lora.layers[name].lora_magnitude_vector[ADAPTER].weight
            lora.plain_norms[lora.original_name(name)] = norms.detach().cpu()
    remove_layers(lora, module, dropped)
    for _, parameter in lora.named_parameters():
        parameter.grad = None
    return dropped


def remove_layers(lora: Lora, module: nn.Module, names: Iterable[str]) -> None:
    """Put the frozen layers back in the place of adapted ones."""
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, lora.layers.pop(name).get_base_layer())
