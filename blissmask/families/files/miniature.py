"""What miniature models (``--model tiny``) share: weights from a seed, a name for them, and a tokenizer of bytes.

Sizes that no tensor's shape tells (heads of 128 channels) are those of the full models, so that the single file of a
miniature loads like a real one. The global random state stays as it is, and the same seed gives the same weights in
every process.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

SEED = 0
_TINY = "tiny"
_END, _PAD = "</s>", "<pad>"


def seeded(make: Callable[[], nn.Module], *, device: torch.device, dtype: torch.dtype, name: str) -> nn.Module:
    """Return ``make()`` with weights drawn from a seed that follows from ``name``, frozen, in eval mode.

    By name, so that the two experts of a family differ.
    """
    import torch

    from blissmask.families.files.loading import place

    with torch.random.fork_rng(devices=[]):
        # Of the processor alone, where the weights are drawn: `fork_rng` brings no other generator back.
        torch.default_generator.manual_seed(zlib.crc32(name.encode()))
        module = make()
    return place(module, device=device, dtype=dtype)


def tiny_identity(*parts: str) -> str:
    """Return the identity of a tiny model: its weights follow from its name and the seed."""
    return "-".join((_TINY, *parts, f"seed{SEED}"))


def is_tiny_identity(identity: str) -> bool:
    """Return whether an identity is that of a tiny model; those of files are hashes."""
    return identity.startswith(f"{_TINY}-")


def byte_tokenizer(*, specials: tuple[str, ...] = (), end: bool = True) -> Any:
    """Return a fast tokenizer whose tokens are the 256 bytes and ``specials``; reads no file and learns nothing.

    Args:
        specials: further special tokens, e.g. of a chat template.
        end: whether every text ends in ``</s>``, as T5's does.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = [_PAD, _END, *specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_PAD, _END, *specials])
    if end:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=_END, pad_token=_PAD, padding_side="right")
