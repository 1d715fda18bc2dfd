"""[memory]: what makes a training smaller or faster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from blissmask.config.fields.kinds import Int, Switch, Text, full_dtype
from blissmask.config.fields.option import Section, option

_PANEL = "Memory and speed"


class MemorySection(Section):
    """[memory]: where the frozen weights are kept, in which precision, and what is computed again."""

    memory: Literal["auto", "none"] = option(
        "none",
        "`auto` picks checkpointing, turns of experts, block swap and int8 by the free memory and says what it picked",
        panel=_PANEL,
        first=True,
        lasting=False,
    )
    gradient_checkpointing: Switch = option(
        False,
        "Recompute activations in the backward pass: less memory, about a third more time",
        panel=_PANEL,
        lasting=False,
    )
    int8_base: Switch = option(
        False,
        "Keep the frozen weights in int8, one scale per output: half the memory of bfloat16, closer to it than float8",
        panel=_PANEL,
    )
    fp8_base: Switch = option(False, "Keep the frozen weights in float8 (e4m3) with a scale per output", panel=_PANEL)
    nf4_base: Switch = option(
        False,
        "Keep the frozen weights in 4 bits (NF4), one scale per 64 weights: a good quarter of bfloat16, coarser than "
        "int8; needs `blissmask[nf4]`",
        panel=_PANEL,
    )
    blocks_to_swap: Int = option(
        0,
        "Blocks whose frozen weights rest in CPU memory and come to the GPU when they run; "
        "needs `gradient_checkpointing`",
        panel=_PANEL,
        lasting=False,
        ge=0,
    )
    fsdp: Switch = option(
        False,
        "With several processes, keep a part of the frozen weights in each instead of all in all (PyTorch's FSDP)",
        panel=_PANEL,
        lasting=False,
    )
    sdpa: Switch = option(
        False,
        "Accepted from musubi-tuner; PyTorch's own attention is always used",
        panel=_PANEL,
        lasting=False,
        hidden=True,
    )
    compile: Switch | None = option(
        None,
        "Compile the repeated blocks: a slow first step, faster ones after it",
        panel=_PANEL,
        default_text="on a GPU, when the run is long enough to pay",
    )
    compile_backend: Text = option("inductor", "Compiler behind `compile`, as `torch.compile` names it", panel=_PANEL)
    dit_dtype: Annotated[Literal["float32", "bfloat16"], BeforeValidator(full_dtype)] | None = option(
        None, "Precision of the frozen denoiser", panel=_PANEL, default_text="bfloat16 on a GPU, float32 on a CPU"
    )
    offload_inactive_dit: Switch = option(
        False, "With `expert = both`, keep the resting expert in CPU memory", panel=_PANEL, lasting=False
    )
