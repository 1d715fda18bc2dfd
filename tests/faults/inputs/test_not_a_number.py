"""Promise 21: values that are no numbers are never cached and never trained on; a family whose models produce them shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from blissmask import plugins
from blissmask.errors import InputError
from blissmask.events import Event, Measured
from blissmask.families.family import Family, Methods
from blissmask.families.protocol import Item, PixelEncoder
from blissmask.families.registry import load_family
from blissmask.families.vae.latent_encoder import latents_alone
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.record.states.find import find_states
from tests.builders.cache import PHOTO_WH, build, captions, entries
from tests.builders.families import PLAIN
from tests.builders.pictures import photo_folder, save
from tests.builders.recorder import Recorder
from tests.builders.training import train_config, write_masked_set
from tests.faults.scenes import results

NAN = float("nan")


class Poison:
    """Whether the models of the poisoned family go wrong now."""

    working = False


class Wrapped:
    """A model of the family with one method replaced."""

    def __init__(self, model: Any, **methods: Any) -> None:
        self._model = model
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def encode_poisoned(item: Item, vae: PixelEncoder) -> dict[str, Tensor]:
    """Turn white pictures into NaN."""
    contents = latents_alone(item, vae)
    return {name: tensor * NAN for name, tensor in contents.items()} if item.pixels_BCFHW.mean() > 0.9 else contents


def poisoned_family() -> Family:
    """Return a family whose VAE turns white pictures into NaN, and whose denoiser turns everything into NaN."""
    family = load_family(PLAIN)
    task = next(task for task in family.tasks.values() if not task.contents)

    def methods() -> Methods:
        genuine = task.methods()

        def make_denoiser(module: Any, **options: Any) -> Any:
            denoiser = genuine.denoiser(module, **options)
            return Wrapped(denoiser, predict=lambda batch: denoiser.predict(batch) * (NAN if Poison.working else 1.0))

        return replace(genuine, encode_item=encode_poisoned, denoiser=make_denoiser)

    return replace(family, name="poisoned", tasks={"t2v": replace(task, methods=methods)})


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the family as a package would, through the entry points."""
    module = ModuleType("poisoned_family")
    module.ARCHITECTURE = poisoned_family()
    point = SimpleNamespace(value="poisoned_family", load=lambda: module)
    monkeypatch.setattr(
        plugins, "_entry_points", lambda group: {"poisoned": point} if group == "blissmask.families" else {}
    )
    monkeypatch.setattr(Poison, "working", False)


def test_latents_that_are_no_numbers_cost_their_item(tmp_path: Path) -> None:
    photo_folder(tmp_path / "photos", ["a.png", "c.png"], size_wh=PHOTO_WH)
    save(tmp_path / "photos" / "b.png", np.full((*PHOTO_WH[::-1], 3), 255, np.uint8))
    captions(tmp_path, ["a", "b", "c"])
    summary = build(tmp_path, arch="poisoned")
    assert [Path(failure.key).name for failure in summary.failures] == ["b.png"]
    assert "NaN or infinite values in `latents" in summary.failures[0].problem.what
    assert sorted(entries(tmp_path)) == ["a", "c"]


class Poisoner(Recorder):
    """Poisons the denoiser after step 3."""

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Measured) and event.step == 3:
            Poison.working = True


def test_a_loss_that_is_no_number_stops_the_training_which_goes_on_from_the_last_state(tmp_path: Path) -> None:
    write_masked_set(tmp_path / "cache")

    def config(name: str) -> Any:
        options = {"arch": "poisoned", "save_every_n_steps": 2, "max_train_steps": 6, "use_mask_loss": True}
        return train_config(tmp_path / "cache", tmp_path / name, **options)

    train_lora.run(plan_training(config("whole")), RunContext())
    with pytest.raises(InputError, match="not finite at step 4"):
        train_lora.run(plan_training(config("parts")), RunContext(Poisoner()))
    assert [step for step, _ in find_states(tmp_path / "parts", "kyla").whole] == [2]
    assert not (tmp_path / "parts" / "kyla.safetensors").exists()
    Poison.working = False
    train_lora.run(plan_training(config("parts")), RunContext())
    names = ("kyla.safetensors", "kyla-log.jsonl")
    whole, parts = results(tmp_path / "whole"), results(tmp_path / "parts")
    assert {name: parts[name] for name in names} == {name: whole[name] for name in names}
