"""Bring the cached conditioning of a batch into the shape that denoisers take. B items, L text rows.

A row is a vector (D,), or a table (T, D) where a family taps T layers of its text encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from blissmask.errors import CacheError
from blissmask.families.protocol import Batch

READ_ON_HOST = frozenset({"f_indices", "llm_mask"})
"""Contents whose values decide what is computed.

They stay in CPU memory: reading them from a GPU would wait for all of its pending work.
"""


def stacked(value: Tensor | Sequence[Tensor]) -> Tensor:
    """Return one conditioning tensor of a batch, whether it came stacked or as a list."""
    return value if isinstance(value, Tensor) else torch.stack(list(value))


def padded_rows(rows: Tensor | Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return text rows (B, L, ...) padded with zeros to the longest, and a mask (B, L) of the rows that are real.

    Args:
        rows: of each caption, (L, ...).
        device, dtype: of the result.
    """
    padded_BL = pad_sequence([caption.to(device, dtype) for caption in rows], batch_first=True)
    # Made on the device from numbers that the host knows: a copy would wait for the device.
    places_L = torch.arange(padded_BL.shape[1], device=device)
    return padded_BL, torch.stack([places_L < len(caption) for caption in rows])


def control_latents(batch: Batch, *, required: bool) -> list[Tensor]:
    """Return the control pictures of a batch, (B, C, 1, h, w) each, where the noisy latents are.

    Raises:
        CacheError: there are none and they are ``required``, or those of the batch differ in size.
    """
    controls: list[Tensor] = []
    while (control := batch.conditioning.get(f"latents_control_{len(controls)}")) is not None:
        if not isinstance(control, Tensor) and len({tuple(one.shape) for one in control}) > 1:
            raise CacheError(
                "control pictures of different sizes in one batch",
                fix="use `batch_size = 1`, or one `control_resolution`",
            )
        controls.append(stacked(control).to(batch.noisy_BCFHW))
    if required and not controls:
        raise CacheError(
            "the cache holds no control pictures, an edit model needs them",
            fix="cache again with a `control_directory`",
        )
    return controls
