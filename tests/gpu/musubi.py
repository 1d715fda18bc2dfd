"""musubi-tuner's step beside ours: the same sizes, rank, latents and text, with its own model and LoRA, loaded from a folder of its source.

Nothing of it is in this repository. Its trainer is a command around what is called here: the model in bfloat16 under autocast, LoRA in float32, mean
squared error, clipping, AdamW. Names are those of its version of June 2026 (30c658c).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.gpu import steps
from tests.gpu.figures import Figure, Place, skipped
from tests.gpu.steps import Model

WHAT = "musubi-tuner"
TEXT_ROWS = 20


def step_beside(where: Place) -> Iterator[Figure]:
    """Yield its step on photos with the small model, as it is and with checkpointing, or say that its source is not here."""
    if where.musubi is None:
        yield skipped(WHAT, "no source was named with --musubi")
        return
    model, latents = (steps.MINIATURE, steps.SMALLEST_PHOTO) if where.rehearses else (steps.SMALL, steps.PHOTO)
    for name, checkpoints in (("as it is", False), ("checkpointing", True)):
        what = f"{WHAT}, {steps.SMALL.name}, photo, {name}"
        if where.seconds_left < 0:
            yield skipped(what, "the part's time is spent")
            continue
        try:
            with _importable(where.musubi):
                yield _figure(what, model, latents, where.device, checkpoints=checkpoints)
        except ModuleNotFoundError as error:
            yield skipped(what, f"no `{error.name}`; its source must be there, and what that needs")
        except Exception as error:  # noqa: BLE001 - its source may be another version: told, and the rest is measured
            yield Figure(what, f"{type(error).__name__}: {error}", {}, failed=True)


@contextlib.contextmanager
def _importable(source: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(source / "src" if (source / "src").is_dir() else source))
        if not torch.cuda.is_available():
            # Its T5 names the GPU when it is imported, in the default of an argument.
            patch.setattr(torch.cuda, "current_device", lambda: 0)
        yield


def _figure(what: str, model: Model, latents: tuple[int, ...], device: torch.device, *, checkpoints: bool) -> Figure:
    denoiser, parameters = _with_lora(model, device)
    if checkpoints:
        denoiser.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    text = [torch.randn(TEXT_ROWS, model.text_width, device=device, dtype=torch.bfloat16)]
    steps.forget_peak(device)
    times = []
    for _ in range(steps.STEPS):
        _step(denoiser, latents, text, device)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())
    seconds, peak = steps.median_step(times), steps.peak(device)
    result = f"{seconds * 1000:.0f} ms a step, peak {peak / steps.GIB:.2f} GiB"
    return Figure(what, result, {"step_seconds": seconds, "peak_bytes": peak})


def _with_lora(model: Model, device: torch.device) -> tuple[Any, list[nn.Parameter]]:
    """Return its denoiser with random weights and its LoRA, and what trains."""
    from musubi_tuner.networks import lora_wan
    from musubi_tuner.wan.modules.model import WanModel

    heads, head_width = model.sizes["num_attention_heads"], 128
    with torch.device(device):
        denoiser = WanModel(
            dim=heads * head_width,
            ffn_dim=model.sizes["ffn_dim"],
            freq_dim=model.sizes.get("freq_dim", 256),
            text_dim=model.text_width,
            num_heads=heads,
            num_layers=model.sizes["num_layers"],
            attn_mode="torch",
        )
    # Its float32 autocast around the embedding of time exists on a GPU alone.
    denoiser.requires_grad_(False).to(device, torch.float32 if device.type == "cpu" else torch.bfloat16)
    network = lora_wan.create_arch_network(1.0, steps.RANK, float(steps.RANK), None, None, denoiser)
    network.apply_to(None, denoiser, apply_text_encoder=False, apply_unet=True)
    network.to(device)
    network.requires_grad_(True)
    denoiser.train()
    return denoiser, [parameter for parameter in network.parameters() if parameter.requires_grad]


def _step(denoiser: Any, latents: tuple[int, ...], text: list[Tensor], device: torch.device) -> None:
    clean, noise = (torch.randn(1, *latents, device=device, dtype=torch.bfloat16) for _ in range(2))
    noisy = (0.5 * clean + 0.5 * noise).requires_grad_()
    tokens = latents[1] * (latents[2] // 2) * (latents[3] // 2)
    with torch.autocast(device.type, torch.bfloat16):
        predicted = denoiser(noisy, t=torch.tensor([500.0], device=device), context=text, seq_len=tokens)
    target = (noise - clean).float()
    (torch.stack(list(predicted)).float() - target).square().mean().backward()
