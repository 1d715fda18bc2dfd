"""Predict with Wan's denoiser.

Shapes: B items, C channels, F latent frames, H and W latent rows and columns, L text rows, D their width, N tokens of a
picture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import CacheError
from blissmask.families.denoisers.conditioning import stacked
from blissmask.families.denoisers.diffusers_denoiser import DiffusersDenoiser
from blissmask.families.protocol import Batch
from blissmask.families.wan import names
from blissmask.families.wan.text_padding import padded_text, weigh_padding

_LORA_TARGETS = r"blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0|add_[kv]_proj)|ffn\.net\.(0\.proj|2))"


@dataclass(eq=False, repr=False)
class WanDenoiser(DiffusersDenoiser):
    """``WanTransformer3DModel``.

    Attributes:
        folds_padding: whether few rows of zeros stand for all of them.
    """

    folds_padding: bool = field(init=False)
    lora_targets = _LORA_TARGETS
    block_class_names = ("WanTransformerBlock",)
    layer_names = names.DENOISER

    def __post_init__(self) -> None:
        self.folds_padding = weigh_padding(self.module)

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity, float32 of shape noisy_BCFHW.

        Text rows are padded with zeros to 512 and not masked, as Wan was trained: other lengths change the prediction.
        Few rows stand for all zeros, see :mod:`blissmask.families.wan.text_padding`.

        The timestep is 1000 * s as in diffusers' FlowMatchEulerDiscreteScheduler; musubi-tuner trains at 1000 * s + 1,
        one thousandth of the range further.

        Uses ``t5``; for image-to-video also ``latents_image`` (20 channels: 4 of frame mask, 16 of the first frame)
        and, for Wan 2.1, ``clip``; for one-frame items ``f_indices``, the time index of each latent frame.
        """
        shown = [stacked(batch.conditioning["latents_image"])] if "latents_image" in batch.conditioning else []
        hidden_BCFHW = torch.cat([batch.noisy_BCFHW, *(tensor.to(batch.noisy_BCFHW) for tensor in shown)], dim=1)
        return self.velocity(hidden_BCFHW, batch.timesteps_B.float() * 1000, batch.conditioning)

    def velocity(
        self, hidden_BCFHW: Tensor, timestep: Tensor, conditioning: Mapping[str, Tensor | list[Tensor]]
    ) -> Tensor:
        """Return the model's output for all input channels.

        ``timestep`` in 0..1000, of shape (B,), or (B, tokens) for TI2V-5B.
        """
        _refuse_other_task(hidden_BCFHW, self.module)
        rows = [row.to(hidden_BCFHW.device, self.dtype) for row in conditioning["t5"]]
        text_BLD = padded_text(rows, may_fold=self.folds_padding)
        with _placed_in_time(self.module, conditioning.get("f_indices")):
            velocity_BCFHW = self.module(
                hidden_states=hidden_BCFHW.to(self.dtype),
                timestep=timestep,
                encoder_hidden_states=text_BLD,
                encoder_hidden_states_image=self._pictures(conditioning.get("clip"), hidden_BCFHW.device),
                return_dict=False,
            )[0]
        return velocity_BCFHW.float()  # type: ignore[no-any-return]

    def _pictures(self, clip: Tensor | Sequence[Tensor] | None, device: torch.device) -> Tensor | None:
        config: Any = self.module.config
        if config.image_dim is None:
            return None
        if clip is None:
            fix = "cache again with `--arch wan21 --task i2v` and its `--image-encoder`"
            raise CacheError("the denoiser takes CLIP features, the cache holds none", fix=fix)
        features = stacked(clip).to(device, self.dtype)
        # One-frame items hold one set of features per control picture; the model takes two of them one after the other.
        return features.flatten(0, 1) if features.ndim == 4 else features


def _refuse_other_task(hidden_BCFHW: Tensor, module: Any) -> None:
    given, wanted = hidden_BCFHW.shape[1], module.config.in_channels
    if given != wanted:
        raise CacheError(
            f"the denoiser takes {wanted} input channels, the cache gives {given}",
            fix="cache and train with the same `--task`, and give a denoiser of that task",
        )


@contextlib.contextmanager
def _placed_in_time(module: Any, frame_indices: Tensor | Sequence[Tensor] | None) -> Iterator[None]:
    """Give each latent frame its own time index for one forward pass.

    musubi-tuner numbers one-frame items 0, 1, ... in training and by their indices when it samples; here both go by
    their indices.
    """
    indices_BF = [] if frame_indices is None else stacked(frame_indices).tolist()
    if all(indices_F == list(range(len(indices_F))) for indices_F in indices_BF):
        yield
        return

    def by_index(rope: Any, inputs: tuple[Tensor, ...], _: object) -> tuple[Tensor, Tensor]:
        return _frequencies(rope, inputs[0].shape, indices_BF)

    hook = module.rope.register_forward_hook(by_index)
    try:
        yield
    finally:
        hook.remove()


def _frequencies(rope: Any, shape_BCFHW: Sequence[int], indices_BF: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return rotary cosines and sines of shape (B, F*H*W/4, 1, head) for frames at ``indices_BF``."""
    _, _, frames, height, width = (
        size // patch for size, patch in zip(shape_BCFHW, (1, 1, *rope.patch_size), strict=True)
    )
    sizes = (len(indices_BF), frames, height, width)

    def table(values: Tensor) -> Tensor:
        time, row, column = torch.split(values, [rope.t_dim, rope.h_dim, rope.w_dim], dim=1)
        # One by one, by numbers of the host: a tensor of indices would have to travel, and the host would wait.
        time_BFt = torch.stack([torch.stack([time[index] for index in indices_F]) for indices_F in indices_BF])
        parts = (time_BFt[:, :, None, None], row[:height, None], column[:width])
        return torch.cat([part.expand(*sizes, part.shape[-1]) for part in parts], dim=-1).flatten(1, 3).unsqueeze(2)

    return table(rope.freqs_cos), table(rope.freqs_sin)
