"""[lora]: what is trained beside the frozen weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from blissmask.config.fields.kinds import FilePath, Int, Number, Rank, Switch, Text
from blissmask.config.fields.option import Section, option

_PANEL = "LoRA"


def _refuse_zero(value: int) -> int:
    if value == 0:
        raise ValueError("must be -1 or >= 1")
    return value


Factor = Annotated[Int, AfterValidator(_refuse_zero)]
"""Size of LoKr's first factor: -1 or at least 1."""


class LoraSection(Section):
    """[lora]: kind, size and place of the LoRA."""

    network_type: Literal["lora", "lokr", "loha"] = option(
        "lora", "LoRA, or its relatives with a Kronecker (LoKr) or Hadamard product (LoHa)", panel=_PANEL
    )
    lokr_factor: Factor = option(
        -1, "Size of LoKr's first factor; -1 is about the square root of the layer's", panel=_PANEL, ge=-1
    )
    network_dim: Rank = option(32, "Rank of the LoRA", panel=_PANEL, first=True, ge=1)
    network_alpha: Number | None = option(
        None, "LoRA scale is this divided by the rank", panel=_PANEL, default_text="the rank", gt=0
    )
    network_dropout: Number = option(0.0, "Share of each LoRA layer's inputs to drop", panel=_PANEL, ge=0, lt=1)
    network_weights: FilePath | None = option(None, "LoRA file to start from", panel=_PANEL)
    base_weights: list[FilePath] = option(
        [],
        "LoRA file to fuse into the frozen weights first, such as a training adapter; may be repeated. "
        "It is no part of the LoRA that is trained",
        panel=_PANEL,
    )
    base_weights_multiplier: list[Number] = option(
        [], "Strength of each of these files, in their order", panel=_PANEL, default_text="1"
    )
    scale_weight_norms: Number | None = option(
        None, "Shrink a layer's update whose norm grows above this; 1 is usual against overfitting", panel=_PANEL, gt=0
    )
    use_rslora: Switch = option(False, "Scale by the square root of the rank (rsLoRA)", panel=_PANEL)
    use_dora: Switch = option(
        False,
        "Also train the norm of each output (DoRA); ComfyUI reads native files, diffusers its own format",
        panel=_PANEL,
    )
    include_patterns: list[Text] = option(
        [], "Regular expression of layers to adapt too; may be repeated", panel=_PANEL
    )
    exclude_patterns: list[Text] = option(
        [], "Regular expression of layers not to adapt; may be repeated", panel=_PANEL
    )
