"""Train the base models: one for each way of encoding, from scratch or from another base model.

Training runs on two processes of one thread each, which add up their gradients. They are nearly twice as fast as one
process with two threads: the matrices are too small to share. B pictures, C channels, H and W pixel rows and columns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import denoiser
import torch
import torch.distributed as dist
import words
import world
from latents import STRIDE, CellCodec, Codec, ConvCodec
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F

from blissmask.cachefile.read_file import read_tensors
from blissmask.cachefile.write import save_tensors
from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.storage.atomic import publishing
from blissmask.training.timesteps import draw_levels, shifted_sigmoid

PROCESSES = 2
BATCH_SIZE = 16
"""Pictures per process and step."""
FACE_EMPHASIS = 4.0
"""Weight of face pixels in the loss. Faces are 6 % of a picture; without this the model learns them last, and soft."""
NOISE = shifted_sigmoid(scale=1.2, shift=1.0)
DROPPED, UNKNOWN, ANONYMOUS = 0.15, 0.45, 0.27
"""Shares of missing words, of unknown names and of people without a name; see ``words.library_captions``."""
_STATE = ".state"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The training of a base model.

    Attributes:
        steps: optimiser steps.
        rate: highest learning rate of the matrices; it rises over 100 steps and falls to 2 % over the last 70 %.
        seed: seed of weights, pictures and noise.
    """

    steps: int
    rate: float = 0.02
    seed: int = 0

    def factor(self, step: int) -> float:
        """Return the factor of the learning rates at ``step``."""
        remaining = (self.steps - step) / (0.7 * self.steps)
        return min(1.0, (step + 1) / 100) * max(0.02, min(1.0, remaining))


def train_codec(path: Path, *, steps: int, report: Callable[[int, str], None]) -> None:
    """Train the convolutional autoencoder on the library and write it to ``path``.

    Args:
        path: a safetensors file.
        steps: optimiser steps of 16 pictures.
        report: called with the steps done and a line of numbers.
    """
    # On pictures this small, more threads only wait for each other.
    torch.set_num_threads(1)
    torch.manual_seed(1)
    codec = ConvCodec()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        rgb_B3HW = _any_pictures(16, generator)
        latents_BChw = codec.encoder(rgb_B3HW)
        # A little noise keeps neighbouring latents alike, as the KL term of large autoencoders does.
        noisy_BChw = latents_BChw + 0.03 * torch.randn(latents_BChw.shape, generator=generator)
        loss = F.mse_loss(codec.decode(noisy_BChw.unsqueeze(2)), rgb_B3HW) + 1e-4 * latents_BChw.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(step + 1, f"error {loss.item():.4f}")
    with torch.no_grad():
        latents_BChw = codec.encoder(_any_pictures(512, generator))
        codec.mean.copy_(latents_BChw.mean(dim=(0, 2, 3)).reshape(-1, 1, 1))
        codec.std.copy_(latents_BChw.std(dim=(0, 2, 3)).reshape(-1, 1, 1))
    save_tensors(path, codec.state_dict(), {})


def load_codec(path: Path | None) -> Codec:
    """Return the autoencoder in ``path``, frozen; None gives the cell codec."""
    if path is None:
        return CellCodec()
    codec = ConvCodec()
    codec.load_state_dict(read_tensors(path))
    return codec.requires_grad_(requires_grad=False).eval()


def train_base(path: Path, schedule: Schedule, *, codec: Path | None, warm: Path | None = None) -> None:
    """Train a base model and write its weights, averaged over the last steps, in bfloat16.

    Progress is printed. An interrupted training continues.

    Args:
        path: a safetensors file.
        schedule: length and learning rate.
        codec: file of the autoencoder; None for cells.
        warm: base model to start from; layers of another shape start anew.
    """
    with tempfile.TemporaryDirectory() as meeting_place:
        arguments = (Path(meeting_place) / "processes", path, schedule, codec, warm)
        spawn(_train_one_process, arguments, nprocs=PROCESSES)  # type: ignore[no-untyped-call]


def _train_one_process(
    rank: int, meeting: Path, path: Path, schedule: Schedule, codec_path: Path | None, warm: Path | None
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES)
    codec = load_codec(codec_path)
    torch.manual_seed(schedule.seed)
    module = denoiser.build(codec.channels)
    if warm is not None:
        _fill(module, read_tensors(warm))
    optimizers = _optimizers(module, schedule)
    average = [parameter.detach().clone() for parameter in module.parameters()]
    state = path.with_suffix(_STATE)
    start = _restore(state, module, optimizers, average)
    started, running = time.monotonic(), 0.0
    for step in range(start, schedule.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["highest_lr"] * schedule.factor(step)
        loss = _step(module, optimizers, codec, schedule.seed, step, rank)
        keep = min(0.998, (step + 1) / (step + 20))
        torch._foreach_lerp_(average, list(module.parameters()), 1 - keep)
        running = loss if step == start else 0.98 * running + 0.02 * loss
        done = step + 1
        if rank == 0 and (done % 50 == 0 or done == schedule.steps):
            left = (time.monotonic() - started) / (done - start) * (schedule.steps - done)
            print(
                f"{path.stem}: step {done} of {schedule.steps}, loss {running:.3f}, {left / 60:.0f} min left",
                flush=True,
            )
        if rank == 0 and done % 500 == 0:
            with publishing(state) as temporary:
                everything = {
                    "step": done,
                    "module": module.state_dict(),
                    "average": average,
                    "optimizers": [own.state_dict() for own in optimizers],
                }
                torch.save(everything, temporary)
    if rank == 0:
        names = [name for name, _ in module.named_parameters()]
        save_tensors(path, {name: tensor.to(torch.bfloat16) for name, tensor in zip(names, average, strict=True)}, {})
        state.unlink(missing_ok=True)
    dist.destroy_process_group()


def _step(
    module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], codec: Codec, seed: int, step: int, rank: int
) -> float:
    """Train one step with the gradients of all processes; return the loss of this process."""
    place = step * PROCESSES + rank
    generator = torch.Generator().manual_seed(seed + 1_000_003 * place)
    scene, people = world.draw_library(BATCH_SIZE, generator, anonymous=ANONYMOUS)
    text_BLD = words.library_captions(scene, people, generator, dropped=DROPPED, unknown=UNKNOWN)
    pictures = world.draw(scene)
    latents_BC1hw = codec.encode(pictures.rgb_B3HW)
    levels_B = draw_levels(NOISE, BATCH_SIZE, seed=seed, micro_batch=place)
    noise_BC1hw = torch.randn(latents_BC1hw.shape, generator=generator)
    level = levels_B.reshape(-1, 1, 1, 1, 1)
    predicted = module((1 - level) * latents_BC1hw + level * noise_BC1hw, levels_B * 1000, text_BLD, return_dict=False)[
        0
    ]
    face_BHW = (pictures.tiers_BHW == TIERS.index(WeightTier.FACE)).float()
    emphasis_B11hw = 1 + (FACE_EMPHASIS - 1) * F.avg_pool2d(face_BHW[:, None, None].flatten(1, 2), STRIDE)[:, :, None]
    errors = (predicted - (noise_BC1hw - latents_BC1hw)).square()
    loss = (errors * emphasis_B11hw).sum() / (emphasis_B11hw.sum() * codec.channels)
    loss.backward()
    parameters = list(module.parameters())
    gradients = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
    dist.all_reduce(gradients)
    gradients *= 1 / max(1.0, float(gradients.norm()))
    for parameter, gradient in zip(
        parameters, torch.split(gradients, [parameter.numel() for parameter in parameters]), strict=True
    ):
        parameter.grad = gradient.view_as(parameter)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(errors.detach().mean())


def _optimizers(module: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks, and AdamW for the rest.

    Muon needs about half the steps of AdamW here.
    """
    matrices, rest = [], []
    for name, parameter in module.named_parameters():
        if name.startswith("blocks.") and parameter.ndim == 2:
            matrices.append(parameter)
        else:
            rest.append(parameter)
    groups: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=schedule.rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=schedule.rate / 10, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    for optimizer in groups:
        for group in optimizer.param_groups:
            group["highest_lr"] = group["lr"]
    return groups


def _fill(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load the tensors that have the shape of the module's own; the others stay as they are."""
    filled = module.state_dict()
    for name, tensor in tensors.items():
        if tensor.shape == filled[name].shape:
            filled[name] = tensor.float()
    module.load_state_dict(filled)


def _restore(state: Path, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: list[Tensor]) -> int:
    """Load module, optimisers and average from the file ``state`` if it exists; return the number of steps done."""
    if not state.is_file():
        return 0
    saved = torch.load(state, weights_only=True)  # noqa: TID251 (written by this module)
    module.load_state_dict(saved["module"])
    for optimizer, own in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(own)
    for mine, theirs in zip(average, saved["average"], strict=True):
        mine.copy_(theirs)
    return int(saved["step"])


def _any_pictures(count: int, generator: torch.Generator) -> Tensor:
    """Return library pictures with shuffled channels, half of them inverted.

    The autoencoder must also know the colours of subjects and rooms, which are not in the library.
    """
    scene, _ = world.draw_library(count, generator, anonymous=1.0)
    rgb_B3HW = world.draw(scene).rgb_B3HW
    shuffled = torch.stack([picture[torch.randperm(3, generator=generator)] for picture in rgb_B3HW])
    negative = (torch.rand(count, 1, 1, 1, generator=generator) < 0.5).float() * 2 - 1
    return shuffled * negative
