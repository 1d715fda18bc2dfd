"""Models of the released sizes with random weights, without a file: what `--model tiny` is in these measurements."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from blissmask.families.files.loading import build_empty, place
from blissmask.families.files.part import Part


def released(part: Part, sizes: Mapping[str, Any]) -> Part:
    """Return ``part`` whose released model has these arguments of its class, too."""
    return replace(part, published={**(part.published or {}), **sizes})


@contextlib.contextmanager
def true_sizes(sizes: Mapping[str, Any], drawn_on: torch.device) -> Iterator[None]:
    """Let `--model tiny` be of the released size, with random weights that are drawn on ``drawn_on``."""

    def load(part: Part, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        return place(_random(released(part, sizes), drawn_on, dtype), device=device, dtype=dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "load_tiny", load)
        yield


def _random(part: Part, device: torch.device, dtype: torch.dtype) -> nn.Module:
    module = build_empty(lambda: part._build(dict(part.published or {})))
    # Of 0.02, as transformers are initialised; norms are 1, so that numbers stay of order 1 through all blocks.
    weights = {
        name: torch.ones(shape.shape, device=device, dtype=dtype)
        if shape.dim() == 1 and "norm" in name
        else 0.02 * torch.randn(shape.shape, device=device, dtype=dtype)
        for name, shape in module.named_parameters()
    }
    module.load_state_dict(weights, strict=False, assign=True)
    return module
