"""Norms of weights, and of what a LoRA adds to them. r: rank; I and O: inputs and outputs of a layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def output_norms(weight_OI: Tensor) -> Tensor:
    """Return the norm of each output of a linear layer, float32 of shape (outputs,)."""
    norms_O: Tensor = torch.linalg.norm(weight_OI.detach().float(), dim=1)
    return norms_O


@torch.no_grad()
def whole_output_norms(weight_OI: Tensor) -> Tensor:
    """Return :func:`output_norms` on the CPU; ``weight_OI`` may be spread over processes, and all call it then."""
    return output_norms(_whole(weight_OI)).cpu()


@torch.no_grad()
def norm_ratio(weight_OI: Tensor, a_rI: Tensor, b_Or: Tensor, *, scale: float) -> Tensor:
    """Return ``|W| / |W + scale * B @ A|`` of each output, float32 of shape (outputs,) on the CPU.

    ``weight_OI`` may be spread over processes; all of them call it then.
    """
    plain_OI = _whole(weight_OI).float()
    changed_OI = plain_OI + scale * (b_Or.to(plain_OI) @ a_rI.to(plain_OI))
    # An output whose weights are all zero stays zero; any ratio would do.
    smallest = torch.finfo(torch.float32).tiny
    return (output_norms(plain_OI) / output_norms(changed_OI).clamp(min=smallest)).cpu()


def product_norm(a_rI: Tensor, b_Or: Tensor) -> Tensor:
    """Return the Frobenius norm of ``B @ A``.

    It comes from two matrices of size (rank, rank); the product itself has the size of the whole layer.

    Args:
        a_rI: A, (rank, inputs).
        b_Or: B, (outputs, rank).
    """
    return ((a_rI @ a_rI.T) * (b_Or.T @ b_Or)).sum().clamp(min=0.0).sqrt()


def _whole(weight_OI: Tensor) -> Tensor:
    return weight_OI.full_tensor() if isinstance(weight_OI, DTensor) else weight_OI
