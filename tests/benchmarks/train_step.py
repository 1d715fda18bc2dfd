"""What the mask loss and the loop cost: `python -m tests.benchmarks.train_step`, with OMP_NUM_THREADS=1 on a busy machine.

Ratios of process time, the three kinds of step in turn within one run, so that a change of the machine's load hits all alike:
mask loss against the same step without masks, and that against bare forward, backward and optimiser.
The model is a four-block Wan of 256 channels at 256 tokens: the smaller the model, the more the loop weighs.

At 1,024 tokens, as a photo of 1024 pixels has 4,096, whole steps with masks in turn: with all 512 rows of text, these and peft's own forward pass of
the LoRA layers, with prior or trigger-free preservation, and with checkpointing, each against the step as it is. The text has 20 rows. A prior as in the
presets is the mean of a step that holds and one that does not, by their share.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from diffusers import WanTransformer3DModel

from blissmask.config.sections.mask_loss_section import PRESETS
from blissmask.families.wan.denoiser import WanDenoiser
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.micro_batch import MicroBatch, collate
from blissmask.training.experts import Learner
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.step.run_step import noise_batch, run_step
from blissmask.training.step.step_rule import StepRule, holds_outside
from blissmask.training.timesteps import uniform
from blissmask.training.weighting.loss import weight_masses
from blissmask.training.weighting.prior import PriorRule, TriggerFreeRule
from tests.benchmarks.report import Row, Size, machine, table

ROUNDS = {Size.SMALLEST: 2, Size.QUICK: 30, Size.FULL: 60}
LONG_ROUNDS = {Size.SMALLEST: 2, Size.QUICK: 11, Size.FULL: 21}
SHARE = PRESETS["person-prior"]["prior_share"]
"""Of the steps with prior preservation."""
OUTSIDE = 0.1
"""Weights below it are held to the base model, as by default."""
SIDE = {Size.SMALLEST: 8, Size.QUICK: 32, Size.FULL: 32}
LONG_SIDE = {Size.SMALLEST: 8, Size.QUICK: 64, Size.FULL: 64}
"""Of the latents; a token is two by two of them."""
CPU = torch.device("cpu")


def make_learner() -> Learner:
    module = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=512,
        num_layers=4,
    )
    denoiser = WanDenoiser(module, identity="bench", dtype=torch.float32)
    lora = inject_lora(denoiser, LoraShape(rank=16, alpha=16.0), seed=0)
    optimizer = torch.optim.AdamW([parameter for _, parameter in lora.named_parameters()], lr=1e-4)
    return Learner(
        "", denoiser, lora, lambda _: uniform(), optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    )


def make_batch(number: int, *, masked: bool, side: int) -> MicroBatch:
    latents = torch.randn(16, 1, side, side).bfloat16()
    regions = torch.softmax(torch.randn(4, 1, side, side), dim=0)
    weights = torch.rand(1, 1, side, side)
    text, class_text = {"t5": torch.randn(20, 32)}, {"t5": torch.randn(20, 32)}
    if not masked:
        return collate([TrainingItem("plain", latents, None, None, None, text, float(latents.numel()))], number)
    item = TrainingItem(
        "masked",
        latents,
        weights,
        outside_1fhw=(weights < OUTSIDE).float(),
        regions_4fhw=regions,
        conditioning=text,
        mass=float(weight_masses(weights[None], 16)),
        class_text=class_text,
    )
    return collate([item], number)


def bare_step(learner: Learner, batch: MicroBatch) -> None:
    target, inputs = noise_batch(batch, torch.tensor([0.5]), seed=1, device=CPU)
    (learner.denoiser.predict(inputs) - target).square().mean().backward()
    learner.optimizer.step()
    learner.optimizer.zero_grad()


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def rows(size: Size) -> list[Row]:
    """Return the milliseconds of a step with masks, and the ratios."""
    return [*loop_rows(size), *long_rows(size)]


def loop_rows(size: Size) -> list[Row]:
    """Return what masks and the loop cost; the first eighth of the rounds warms up and does not count."""
    learner, rule, side = make_learner(), StepRule(seed=1), SIDE[size]
    times: dict[str, list[float]] = {"masked": [], "plain": [], "bare": []}
    for number in range(ROUNDS[size]):
        masked, plain = (make_batch(number, masked=given, side=side) for given in (True, False))
        times["masked"].append(seconds(lambda batch=masked: run_step(learner, [batch], rule, step=0, device=CPU)))
        times["plain"].append(seconds(lambda batch=plain: run_step(learner, [batch], rule, step=0, device=CPU)))
        times["bare"].append(seconds(lambda batch=plain: bare_step(learner, batch)))
    typical = {name: statistics.median(values[ROUNDS[size] // 8 :]) for name, values in times.items()}
    return [
        Row("training step with masks", typical["masked"] * 1000, "ms"),
        Row("step with masks / without", typical["masked"] / typical["plain"], goal=1.01),
        Row("step without masks / bare forward, backward, optimiser", typical["plain"] / typical["bare"], goal=1.05),
    ]


def long_rows(size: Size) -> list[Row]:
    """Return the seconds of a step at 1,024 tokens, and what changes it; the first round warms up and does not count."""
    ours, unfolded, of_peft, checkpointed = (make_learner() for _ in range(4))
    unfolded.denoiser.folds_padding = of_peft.denoiser.folds_padding = False
    for layer in of_peft.lora.layers.values():
        # An instance's attribute before the class's method: see `training/lora/layers/product.py`.
        del layer.forward
    checkpointed.denoiser.module.enable_gradient_checkpointing()
    plain, held = StepRule(seed=1), StepRule(seed=1, prior=PriorRule(1.0))
    kinds = {"ours": (ours, plain), "ckpt": (checkpointed, plain), "prior": (ours, held)}
    kinds["512 rows"], kinds["peft, 512 rows"] = (unfolded, plain), (of_peft, plain)
    kinds["prior, ckpt"] = checkpointed, held
    kinds["trigger-free"] = ours, StepRule(seed=1, trigger_free=TriggerFreeRule(1.0))
    kinds["both"] = ours, StepRule(seed=1, prior=PriorRule(1.0), trigger_free=TriggerFreeRule(1.0))
    shared = StepRule(seed=1, prior=PriorRule(1.0, share=SHARE))
    holds = [holds_outside(shared, step) for step in range(100)]
    steps = {"let go": holds.index(False), "let go, ckpt": holds.index(False)}
    kinds["let go"], kinds["let go, ckpt"] = (ours, shared), (checkpointed, shared)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(LONG_ROUNDS[size]):
        batch = make_batch(number, masked=True, side=LONG_SIDE[size])
        # Whoever comes first after a new batch pays for its pages, so each takes its turn.
        names = [*kinds][number % len(kinds) :] + [*kinds][: number % len(kinds)]
        for name in names:
            learner, rule = kinds[name]
            times[name].append(seconds(partial(run_step, learner, [batch], rule, step=steps.get(name, 0), device=CPU)))
    # The least: what disturbs a process only adds to its time.
    least = {name: min(values[1:]) for name, values in times.items()}
    of_preset = SHARE * least["prior"] + (1 - SHARE) * least["let go"]
    of_preset_ckpt = SHARE * least["prior, ckpt"] + (1 - SHARE) * least["let go, ckpt"]
    return [
        Row("training step with masks, 1,024 tokens", least["ours"] * 1000, "ms"),
        Row("the same / with all 512 rows of text", least["ours"] / least["512 rows"]),
        Row(
            "the same / with these and peft's own pass of LoRA layers",
            least["ours"] / least["peft, 512 rows"],
            goal=0.9,
        ),
        Row(f"prior preservation in {SHARE:.0%} of the steps / without", of_preset / least["ours"], goal=1.25),
        Row("prior preservation in every step / without", least["prior"] / least["ours"]),
        Row("with checkpointing / without, 1,024 tokens", least["ckpt"] / least["ours"]),
        Row(
            f"prior in {SHARE:.0%} of the steps and checkpointing / it alone", of_preset_ckpt / least["ckpt"], goal=1.25
        ),
        Row("prior in every step and checkpointing / it alone", least["prior, ckpt"] / least["ckpt"]),
        Row("with trigger-free preservation / without, 1,024 tokens", least["trigger-free"] / least["ours"]),
        Row("with both / without, 1,024 tokens", least["both"] / least["ours"]),
    ]


if __name__ == "__main__":
    print(f"{machine()}\n\n{table(rows(Size.FULL))}")
