"""A step waits for the GPU nowhere: nothing is read back, and what travels comes from page-locked memory.

Without a GPU the meta device stands for one: its values cannot be read at all, and what is copied to it is seen.
"""

import dataclasses
import traceback
from contextlib import contextmanager
from pathlib import Path

import diffusers
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_headers import list_headers
from blissmask.training import device as device_module
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.experts import Learner
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.step import run_step as step_module
from blissmask.training.step.run_step import run_step
from blissmask.training.step.step_rule import StepRule
from blissmask.training.timesteps import uniform
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule
from tests.builders.cached_families import write_cache
from tests.builders.families import PLAIN, TASKS, family_of, tiny_denoiser

CPU = torch.device("cpu")
NOT_OF_A_MODEL = (f"{Path(torch.__file__).parent}/", __file__)
"""Where no line of a model stands: what is called by one, or sees it."""
RULE = StepRule(seed=1, prior=PriorRule(1.0), max_weight_norm=5.0, subjects=("kyla", "tom"))


def make_learner(name, task, device):
    denoiser = tiny_denoiser(name, task, expert=-1, dtype=torch.float32)
    lora = inject_lora(denoiser, LoraShape(rank=2, alpha=2.0), seed=0)
    denoiser.module.to(device)
    optimizer = torch.optim.AdamW([parameter for _, parameter in lora.named_parameters()], lr=1e-3)
    return Learner(
        "", denoiser, lora, lambda _: uniform(), optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    )


def make_batch(folder, name, task):
    family = family_of(name, task)
    write_cache(folder, family)
    rule = WeightRule(gamma=0.7, min_weight=0.0)
    options = {"rule": rule, "prior": PriorRule(1.0, mask_threshold=0.1), "latent": family.latent}
    headers = list_headers(folder, family.cache_suffix)
    items = [in_company(make_item(header, load_entry(header), **options)) for header in headers]
    return collate(items, 0, positions=range(len(items)))


def in_company(item):
    """Return the item as one of two subjects that have the same regions."""
    planes = [item.regions_4fhw, item.regions_4fhw]
    return dataclasses.replace(item, subjects=("kyla", "tom"), subjects_Qfhw=torch.cat(planes))


def is_of_diffusers(frames):
    """Return whether the innermost line of a model is one of diffusers, whose waiting is not ours to mend."""
    files = [frame.f_code.co_filename for frame, _ in frames]
    of_a_model = [file for file in files if not file.startswith(NOT_OF_A_MODEL)]
    return of_a_model[-1].startswith(f"{Path(diffusers.__file__).parent}/")


@contextmanager
def diffusers_aside():
    """Skip the test where diffusers itself reads a value, e.g. a mask that it sorts text by."""
    try:
        yield
    except RuntimeError as error:
        if is_of_diffusers(traceback.walk_tb(error.__traceback__)):
            pytest.skip(f"diffusers waits: {error}")
        raise


class Copies(TorchDispatchMode):
    """Sees what goes from CPU memory to the meta device, and how; but for what diffusers sends, e.g. a list."""

    def __init__(self, locked):
        super().__init__()
        self.locked = locked
        self.waiting = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        options = kwargs or {}
        to_meta = (
            function is torch.ops.aten._to_copy.default and torch.device(options.get("device") or CPU).type == "meta"
        )
        if to_meta and args[0].device.type == "cpu":
            at_once = options.get("non_blocking") and args[0].untyped_storage().data_ptr() in self.locked
            if not at_once:
                self._add(args[0])
        if function is torch.ops.aten.copy_.default and args[0].device.type == "meta" and args[1].device.type == "cpu":
            self._add(args[1])
        return function(*args, **options)

    def _add(self, tensor):
        outermost_first = reversed(list(traceback.walk_stack(None)))
        if not is_of_diffusers(outermost_first):
            self.waiting.append((tuple(tensor.shape), tensor.dtype))


@pytest.fixture
def locked(monkeypatch):
    """Let the meta device be copied to from page-locked memory; return the places of such memory."""
    places = {}

    def pin(tensor):
        copy = tensor.clone()
        # Kept, so that no other memory gets its place.
        places[copy.untyped_storage().data_ptr()] = copy
        return copy

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(device_module, "pins", lambda device: device.type != "cpu")
    return places


@pytest.fixture
def noise_on_meta(monkeypatch):
    """The meta device has no generators."""
    genuine_generator, genuine_noise = step_module.generator_for, torch.randn
    monkeypatch.setattr(step_module, "generator_for", lambda *parts, device=CPU: genuine_generator(*parts))

    def noise(*shape, device=CPU, **options):
        return genuine_noise(*shape, device=device, **({} if device.type == "meta" else options))

    monkeypatch.setattr(torch, "randn", noise)


@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_nothing_is_read_back_and_what_travels_comes_from_page_locked_memory(
    tmp_path, name, task, locked, noise_on_meta
):
    meta = torch.device("meta")
    learner, batch = make_learner(name, task, meta), make_batch(tmp_path, name, task)
    with diffusers_aside():
        run_step(learner, [batch], RULE, step=0, device=meta)
    losses = ItemLosses(batch.names)
    with Copies(locked) as copies:
        numbers = run_step(learner, [batch.pinned(), batch.pinned()], RULE, step=1, device=meta, losses=losses)
    assert copies.waiting == []
    assert numbers["loss"].device.type == "meta"


def test_texts_of_different_lengths_are_masked_without_a_copy(locked):
    from blissmask.families.denoisers.conditioning import padded_rows

    rows = [torch.ones(3, 4, device="meta"), torch.ones(5, 4, device="meta")]
    with Copies(locked) as copies:
        padded_rows(rows, torch.device("meta"), torch.float32)
    assert copies.waiting == []


def test_frames_at_times_of_their_own_are_placed_without_a_copy(tmp_path, locked, noise_on_meta):
    """One-frame training gives each latent frame an index, which the host reads."""
    meta = torch.device("meta")
    learner, batch = make_learner(PLAIN, "i2v", meta), make_batch(tmp_path, PLAIN, "i2v")
    frames = batch.latents_BCFHW.shape[2]
    batch.conditioning["f_indices"] = torch.tensor([[3 * frame for frame in range(frames)]] * 2, dtype=torch.int32)
    run_step(learner, [batch], RULE, step=0, device=meta)
    with Copies(locked) as copies:
        run_step(learner, [batch.pinned()], RULE, step=1, device=meta)
    assert copies.waiting == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_a_step_on_a_gpu_never_waits_for_it(tmp_path, name, task):
    gpu = torch.device("cuda")
    learner, batch = make_learner(name, task, gpu), make_batch(tmp_path, name, task)
    losses = ItemLosses(batch.names)
    run_step(learner, [batch.pinned()], RULE, step=0, device=gpu, losses=losses)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with diffusers_aside():
            run_step(learner, [batch.pinned(), batch.pinned()], RULE, step=1, device=gpu, losses=losses)
    finally:
        torch.cuda.set_sync_debug_mode("default")
