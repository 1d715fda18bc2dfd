"""Qwen-Image's denoiser: load it from a file or folder, and predict with it, alone or beside control pictures.

Shapes: B items, C channels, F = 1 frame, H and W latent rows and columns, N tokens of 2 x 2 latent cells, L text rows,
D their width.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.errors import CacheError, ModelError
from blissmask.families.conditioning import padded_rows
from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import holds_entry, open_checkpoint
from blissmask.families.protocol import Batch

_KIND = "Qwen-Image denoiser"
_PATCH = 2
# Files of Qwen-Image-Edit-2511 carry an empty tensor of this name.
_ZERO_TIME_MARKER = "__index_timestep_zero__"


class QwenDenoiser:
    """``QwenImageTransformer2DModel`` as a :class:`blissmask.families.protocol.Denoiser`.

    Args:
        module: the model on its device.
        identity: names the weights by content.
        dtype: what activations are computed in.
        edits: whether control pictures are required.
    """

    block_class_names = ("QwenImageTransformerBlock",)

    def __init__(self, module: Any, *, identity: str, dtype: torch.dtype, edits: bool) -> None:
        self.module: Any = module
        self.identity = identity
        self.dtype = dtype
        self._edits = edits
        self.lora_targets = lora_targets(len(self.module.transformer_blocks))

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW (B, 16, 1, H, W).

        Tokens of control pictures stand after the target's and are cut off the prediction. The model takes the timestep
        in 0..1.

        Uses ``vl_embed``, and ``latents_control_0`` and on for edit models.
        """
        controls = list(_controls(batch))
        if self._edits and not controls:
            raise CacheError(
                "the cache holds no control pictures, an edit model needs them",
                fix="cache again with a `control_directory`",
            )
        pictures = [batch.noisy_BCFHW, *(control.to(batch.noisy_BCFHW) for control in controls)]
        rows = batch.conditioning["vl_embed"]
        text_BLD, mask_BL = padded_rows(rows, batch.noisy_BCFHW.device, self.dtype)
        height, width = batch.noisy_BCFHW.shape[3:]
        shapes = [(1, picture.shape[3] // _PATCH, picture.shape[4] // _PATCH) for picture in pictures]
        velocity_BND = self.module(
            hidden_states=torch.cat([pack(picture) for picture in pictures], dim=1).to(self.dtype),
            timestep=batch.timesteps_B.to(self.dtype),
            encoder_hidden_states=text_BLD,
            # Without a mask, attention takes its faster way.
            encoder_hidden_states_mask=None if len({len(row) for row in rows}) == 1 else mask_BL,
            img_shapes=[shapes] * len(batch.noisy_BCFHW),
            return_dict=False,
        )[0]
        return unpack(velocity_BND[:, : height // _PATCH * (width // _PATCH)].float(), height, width)

    def original_name(self, module_name: str) -> str:
        """Return ``module_name``: the original repository is diffusers."""
        return module_name


def lora_targets(blocks: int) -> str:
    """Return the pattern of all attention and feed-forward layers that learn anything.

    The last block's text stream is thrown away, so what only writes to it never gets a gradient: DDP stops at such
    adapters, and the text's queries get zeros for ever.
    """
    always = r"attn\.(to_[qkv]|to_out\.0|add_[kv]_proj)|img_mlp\.net\.(0\.proj|2)"
    text_only = r"attn\.(add_q_proj|to_add_out)|txt_mlp\.net\.(0\.proj|2)"
    return rf"transformer_blocks\.(\d+\.({always})|(?!{blocks - 1}\.)\d+\.({text_only}))"


def pack(latents_BC1HW: Tensor) -> Tensor:
    """Return tokens (B, H/2 * W/2, 4C): each holds 2 x 2 latent cells, channel by channel."""
    batch, channels, _, height, width = latents_BC1HW.shape
    cells = latents_BC1HW.reshape(batch, channels, height // _PATCH, _PATCH, width // _PATCH, _PATCH)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // _PATCH * (width // _PATCH), channels * _PATCH**2)


def unpack(tokens_BND: Tensor, height: int, width: int) -> Tensor:
    """Return latents_BC1HW of ``height`` x ``width``: the inverse of :func:`pack`."""
    batch, _, depth = tokens_BND.shape
    cells = tokens_BND.reshape(batch, height // _PATCH, width // _PATCH, depth // _PATCH**2, _PATCH, _PATCH)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, depth // _PATCH**2, 1, height, width)


def load_denoiser(path: Path, *, device: torch.device, dtype: torch.dtype, zero_time: bool | None = None) -> nn.Module:
    """Load ``QwenImageTransformer2DModel`` from a single file: diffusers names, with or without ComfyUI's prefix, fp8 included.

    Args:
        path: the file.
        device: where the weights go.
        dtype: what they become.
        zero_time: whether control pictures get timestep 0 (Edit-2511); None where there are none.

    Raises:
        ModelError: the file is damaged, no Qwen-Image, lacks keys, or is marked as Edit-2511 and ``zero_time`` is not
            set.
    """
    from diffusers import QwenImageTransformer2DModel

    tensors = open_checkpoint(path)
    if zero_time is False and holds_entry(path, _ZERO_TIME_MARKER):
        raise ModelError("the file is marked as Qwen-Image-Edit-2511", where=[path], fix="use `--task edit-2511`")
    config = config_of(tensors, path)
    module = build_empty(lambda: QwenImageTransformer2DModel(**config, zero_cond_t=bool(zero_time)))
    return load_weights(module, tensors, source=path, device=device, dtype=dtype)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``QwenImageTransformer2DModel`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    width, in_channels = shape("img_in.weight")
    head = shape("transformer_blocks.0.attn.norm_q.weight")[0]
    return {
        "patch_size": _PATCH,
        "in_channels": in_channels,
        "out_channels": shape("proj_out.weight")[0] // _PATCH**2,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shape("txt_in.weight")[1],
        # 16, 56 and 56 of 128: an eighth for the picture's number, the rest for rows and columns.
        "axes_dims_rope": (head // 8, head * 7 // 16, head * 7 // 16),
    }


def _controls(batch: Batch) -> Iterator[Tensor]:
    number = 0
    while (control := batch.conditioning.get(f"latents_control_{number}")) is not None:
        if not isinstance(control, Tensor):
            if len({tuple(one.shape) for one in control}) > 1:
                raise CacheError(
                    "control pictures of different sizes in one batch",
                    fix="use `batch_size = 1`, or one `control_resolution`",
                )
            control = torch.stack(control)
        yield control
        number += 1
