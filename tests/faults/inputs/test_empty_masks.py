"""Promise 15: masks that are zero everywhere are named, do as they are told, and teach nothing without harm."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from blissmask.training.record.metrics import read_log
from tests.builders.cache import entries
from tests.builders.families import PLAIN
from tests.builders.pictures import save
from tests.builders.training import tensors_of
from tests.faults.forks import Forks
from tests.faults.scenes import SCENES

EMPTY = ("one", "three")
ALL = ("one", "two", "three", "four")
TRAIN = (
    *("train", "--arch", PLAIN, "--model", "tiny", "--output-dir", "trained", "--use-mask-loss"),
    *("--max-train-steps", "5", "--network-dim", "2"),
)
CONFIG = '[[datasets]]\ncache_directory = "out"\nbatch_size = 2\n'


def with_empty(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    scene = SCENES["cache"](folder)
    for name in names:
        save(folder / "masks" / f"{name}.png", np.zeros((320, 480), dtype=np.uint8))
    return scene.arguments


@pytest.mark.slow
def test_empty_masks_are_named_and_cached_by_default(tmp_path: Path, forks: Forks) -> None:
    arguments = with_empty(tmp_path, EMPTY)
    ended = forks.run(tmp_path, *arguments, "--json")
    assert ended.code == 0, ended.err
    assert "2 masks are zero everywhere" in ended.err
    assert all(f"masks/{name}.png" in ended.err for name in EMPTY)
    assert {stem for stem, entry in cached(tmp_path).items() if not entry.any()} == set(EMPTY)
    assert any("zero everywhere" in warning for warning in json.loads(ended.out)["warnings"])


@pytest.mark.slow
def test_empty_masks_stop_the_run_when_asked_to(tmp_path: Path, forks: Forks) -> None:
    ended = forks.run(tmp_path, *with_empty(tmp_path, EMPTY), "--empty-mask", "error")
    assert ended.code == 1
    assert all(f"masks/{name}.png" in ended.err for name in EMPTY)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_empty_masks_become_full_weight_when_asked_to(tmp_path: Path, forks: Forks) -> None:
    assert forks.run(tmp_path, *with_empty(tmp_path, EMPTY), "--empty-mask", "full").code == 0
    assert {stem for stem, entry in cached(tmp_path).items() if (entry == 1).all()} == set(EMPTY)


def cached(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of every entry; the scene caches into `out`."""
    (folder / "cache").symlink_to("out")
    return {stem: entry.weights_1fhw for stem, entry in entries(folder).items()}


@pytest.mark.slow
def test_batches_of_empty_masks_are_counted_and_leave_the_lora_as_it_began(tmp_path: Path, forks: Forks) -> None:
    assert forks.run(tmp_path, *with_empty(tmp_path, ALL)).code == 0
    (tmp_path / "blissmask.toml").write_text(CONFIG)
    refused = forks.run(tmp_path, *TRAIN)
    assert refused.code == 1
    assert "4 of 4 cache entries have weight 0 everywhere, so there is nothing to learn" in refused.err
    ended = forks.run(tmp_path, *TRAIN, "--empty-mask", "train")
    assert ended.code == 0, ended.err
    log = read_log(tmp_path / "trained" / "lora-log.jsonl")
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5]
    assert {line["mask/empty"] for line in log} == {2.0}
    assert {line["grad_norm"] for line in log} == {0.0}
    # An untrained LoRA changes nothing: its second matrices are zero.
    trained = tensors_of(tmp_path / "trained" / "lora.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())
    assert not any(tensor.any() for name, tensor in trained.items() if "lora_B" in name)


@pytest.mark.slow
def test_empty_masks_beside_others_take_no_step(tmp_path: Path, forks: Forks) -> None:
    assert forks.run(tmp_path, *with_empty(tmp_path, EMPTY)).code == 0
    (tmp_path / "blissmask.toml").write_text(CONFIG)
    ended = forks.run(tmp_path, *TRAIN)
    assert ended.code == 0, ended.err
    log = read_log(tmp_path / "trained" / "lora-log.jsonl")
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5]
    assert {line["mask/empty"] for line in log} == {0.0}
    assert "2 of 4 cache entries have weight 0 everywhere" in ended.err
    trained = tensors_of(tmp_path / "trained" / "lora.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in trained.values())
    assert any(tensor.any() for name, tensor in trained.items() if "lora_B" in name)
