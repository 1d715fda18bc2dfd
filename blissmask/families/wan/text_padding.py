"""Wan's text padding, computed once instead of for up to 512 rows.

The text is filled up with rows of zeros to 512, which are not masked (see the family's page). Every block makes keys
and values of all 512 rows, and every token looks at each of them, though the rows of zeros are all alike: a caption has
no place in Wan. n equal keys in a softmax are one key whose logit is higher by log(n), so few rows of zeros stand for
all of them, exactly; not with dropout in a LoRA of keys or values, which draws for each row. A step with a short
caption takes 0.83 to 0.86 of the time with 1,024 tokens in miniature (``python -m tests.benchmarks --only
train_step``), and 0.89 with blocks as wide as Wan 1.3B's; the more tokens there are, the less is won.

B items, N tokens, L text rows, D their width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from blissmask.families.wan.text import MAX_TOKENS

_STEP = 128
"""Lengths are multiples of it, so that compiled blocks see few, and kernels of a GPU aligned ones."""
_WEIGHTED = 2
"""Rows of zeros with a bias. The log of a number of rows is not a number of bfloat16: it would be wrong by up to 1.6 %
with one row; the second makes good for it."""


def padded_text(rows: Sequence[Tensor], *, may_fold: bool) -> Tensor:
    """Return text rows with rows of zeros after them, (B, L, D): 512, or fewer where a module weighs them.

    Args:
        rows: of each caption, (L, D); what is beyond 512 is cut off.
        may_fold: whether :func:`weigh_padding` was called.
    """
    padded_BLD = pad_sequence([row[:MAX_TOKENS] for row in rows], batch_first=True)
    longest = padded_BLD.shape[1]
    folded = -(-(longest + _WEIGHTED) // _STEP) * _STEP if may_fold else MAX_TOKENS
    return F.pad(padded_BLD, (0, 0, 0, min(folded, MAX_TOKENS) - longest))


def weigh_padding(module: Any) -> bool:
    """Let the last rows of texts that :func:`padded_text` made shorter than 512 stand for those that are missing.

    Texts of other lengths, such as the 512 rows that pipelines give, are attended to as they are.

    Returns:
        Whether the module can: the ones that see CLIP features count on 512 rows of text.
    """
    # diffusers 0.40 to 0.42: `WanAttnProcessor` finds the picture's rows by their distance from 512.
    if module.config.added_kv_proj_dim is not None:
        return False
    for block in module.blocks:
        block.attn2.register_forward_pre_hook(with_biases)
    return True


def with_biases(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Put the biases in the place of the mask, of which a block gives none. A hook, so that recomputation has it."""
    hidden_BND, text_BLD, _mask, *rest = inputs
    biases = _BIASES[hidden_BND.dtype].get(text_BLD.shape[1])
    if biases is None:
        return None
    biases_111L = hidden_BND.new_zeros(1, 1, 1, text_BLD.shape[1])
    # One by one: a tensor of numbers of the host would have to travel, and the host would wait.
    for place, bias in enumerate(biases, start=-_WEIGHTED):
        biases_111L[..., place] = bias
    return hidden_BND, text_BLD, biases_111L, *rest


def _biases(missing: int, dtype: torch.dtype) -> list[float]:
    """Return what is added to the logits of the last rows so that they count ``missing`` more; numbers of ``dtype``."""
    left, biases = float(missing + _WEIGHTED), []
    for _ in range(_WEIGHTED):
        biases.append(_rounded_down(math.log(left), torch.finfo(dtype).eps))
        left -= math.exp(biases[-1])
    return biases


def _rounded_down(value: float, precision: float) -> float:
    """Return the next smaller number, so that something is left for the next row; ``precision`` as ``finfo.eps``."""
    unit = precision * 2.0 ** math.floor(math.log2(abs(value)))
    return (math.ceil(value / unit) - 1) * unit


# A table of few lengths: compiled blocks look a number up in it, and cannot compute one.
_BIASES = {
    dtype: {length: _biases(MAX_TOKENS - length, dtype) for length in range(_STEP, MAX_TOKENS, _STEP)}
    for dtype in (torch.float32, torch.bfloat16, torch.float16)
}
