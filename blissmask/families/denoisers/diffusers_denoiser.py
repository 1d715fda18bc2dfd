"""What all denoisers have in common: a diffusers model, its identity, and the names of its layers."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

import torch

from blissmask.families.files.keymap import KeyMap


@dataclass(eq=False, repr=False)
class DiffusersDenoiser:
    """A diffusers model as a :class:`blissmask.families.protocol.Denoiser`, but for ``predict``, which a family adds.

    A family's class sets ``lora_targets``, ``block_class_names`` and ``layer_names``, and may have fields of its own.

    Attributes:
        module: the model on its device.
        identity: names the weights by content.
        dtype: what activations are computed in; not read from the weights, which may be cast to fp8 later.
        layer_names: names of its layers in the original repository; without any, they are diffusers' own.
    """

    module: Any
    _: KW_ONLY
    identity: str
    dtype: torch.dtype
    lora_targets: str = field(init=False)
    block_class_names: ClassVar[tuple[str, ...]]
    layer_names: ClassVar[KeyMap] = KeyMap([])

    def original_name(self, module_name: str) -> str:
        """Return the original repository's name of a module; parts of fused layers end in ``:q``, ``:k`` and so on."""
        return self.layer_names.to_original(module_name)
