"""One LoRA in several denoisers of the same layers."""

from __future__ import annotations

from torch import nn

from blissmask.errors import UsageError
from blissmask.training.lora.layers.inject import remove_layers
from blissmask.training.lora.layers.lora import Lora, trained_parameters


def follow_lora(followed: Lora, lora: Lora, module: nn.Module) -> None:
    """Let the LoRA of ``module``, another model of the same family, be ``followed``, layers that it lacks left out.

    Raises:
        UsageError: the models differ in size.
    """
    remove_layers(lora, module, lora.layers.keys() - followed.layers.keys())
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
        for own, parameter in trained_parameters(first.layers[name]):
            parent, _, child = own.rpartition(".")
            # The same Parameter object in both: one optimiser moves both, and gradients of both add up in it.
            setattr(layer.get_submodule(parent), child, parameter)
