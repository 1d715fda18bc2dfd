"""LoRA layers: where they go, in which precision, and that they can be put aside."""

import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from blissmask.errors import MachineError, ModelError, UsageError
from blissmask.training.lora.file import read_lora
from blissmask.training.lora.layers.inject import drop_unreached, inject_lora
from blissmask.training.lora.layers.lora import LoraShape, adapters_off
from blissmask.training.lora.layers.share import share_lora


class TwoPaths(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            [nn.ModuleDict({"used": nn.Linear(4, 4), "thrown_away": nn.Linear(4, 4)}) for _ in range(2)]
        )
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        for block in self.blocks:
            block["thrown_away"](x)
            x = block["used"](x)
        return self.head(x)


class Toy:
    lora_targets = r"blocks\.\d+\.\w+"
    block_class_names = ()
    identity = "toy"

    def __init__(self, dtype=torch.float32):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = TwoPaths().to(dtype)

    def original_name(self, module_name):
        return module_name.replace("used", "original")


SHAPE = LoraShape(rank=2, alpha=2.0)


def inject(toy=None, *, seed=0, **shape):
    toy = toy or Toy()
    return toy, inject_lora(toy, LoraShape(**{"rank": 2, "alpha": 2.0, **shape}), seed=seed)


@pytest.mark.parametrize(("dropout", "folds"), [(0.0, True), (0.1, False)])
def test_one_row_stands_for_many_only_where_no_dropout_draws_for_each(dropout, folds):
    toy = Toy()
    toy.folds_padding = True
    inject(toy, dropout=dropout)
    assert toy.folds_padding is folds


def test_only_the_targets_are_adapted_and_only_the_lora_trains():
    toy, lora = inject()
    assert set(lora.layers) == {"blocks.0.used", "blocks.0.thrown_away", "blocks.1.used", "blocks.1.thrown_away"}
    assert {name for name, p in toy.module.named_parameters() if p.requires_grad} == {
        name for name, _ in toy.module.named_parameters() if "lora_" in name
    }


def test_predictions_are_unchanged_at_the_start():
    x = torch.randn(3, 4)
    expected = Toy().module(x)
    toy, _ = inject()
    assert torch.equal(toy.module(x), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lora_weights_are_float32_on_any_base(dtype):
    _, lora = inject(Toy(dtype))
    assert {parameter.dtype for _, parameter in lora.named_parameters()} == {torch.float32}


def test_the_start_depends_on_the_seed_alone():
    torch.manual_seed(1)
    _, first = inject(seed=5)
    state = torch.get_rng_state()
    _, second = inject(seed=5)
    _, other = inject(seed=6)
    assert torch.equal(state, torch.get_rng_state())
    name, matrix = first.named_parameters()[0]
    assert torch.equal(matrix, dict(second.named_parameters())[name])
    assert not torch.equal(matrix, dict(other.named_parameters())[name])


def test_layers_that_get_no_gradient_are_removed_and_the_model_still_works():
    toy, lora = inject()
    x = torch.randn(3, 4)
    before = toy.module(x)
    before.square().sum().backward()
    assert drop_unreached(lora, toy.module) == ["blocks.0.thrown_away", "blocks.1.thrown_away"]
    assert set(lora.layers) == {"blocks.0.used", "blocks.1.used"}
    assert type(toy.module.blocks[0]["thrown_away"]) is nn.Linear
    assert torch.equal(toy.module(x), before)
    assert all(parameter.grad is None for _, parameter in lora.named_parameters())


def test_adapters_off_predicts_as_the_base_and_leaves_training_as_it_was():
    toy, lora = inject(dropout=0.5)
    x = torch.randn(3, 4)
    base = Toy().module(x)
    for _, parameter in lora.named_parameters():
        parameter.data += 1.0
    with adapters_off(lora):
        off = toy.module(x)
    assert torch.equal(off, base)
    assert not off.requires_grad
    assert toy.module(x).requires_grad
    assert all(parameter.requires_grad for _, parameter in lora.named_parameters())
    assert not torch.equal(toy.module(x), base)


def test_a_shared_lora_is_the_same_parameters_in_both_models():
    first_toy, first = inject()
    second_toy, second = inject(seed=9)
    share_lora(first, second)
    assert all(a is b for (_, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True))
    assert all(torch.equal(first.matrices()[name][0], second.matrices()[name][0]) for name in first.matrices())
    second_toy.module(torch.randn(2, 4)).sum().backward()
    assert any(parameter.grad is not None for _, parameter in first.named_parameters())
    assert first_toy is not second_toy


def test_patterns_take_layers_out_and_in_by_their_original_name():
    _, fewer = inject(exclude=(r".*\.original",))
    assert set(fewer.layers) == {"blocks.0.thrown_away", "blocks.1.thrown_away"}
    _, more = inject(include=("head",))
    assert "head" in more.layers


@pytest.mark.parametrize(
    ("shape", "message"), [({"exclude": (".*",)}, "adapt no layer"), ({"exclude": ("(",)}, "not a regular expression")]
)
def test_patterns_that_make_no_sense_are_refused(shape, message):
    with pytest.raises(UsageError, match=message):
        inject(**shape)


def test_the_scale_is_alpha_over_rank_or_over_its_root():
    assert LoraShape(rank=16, alpha=8.0).scaling == 0.5
    assert LoraShape(rank=16, alpha=8.0, rank_stabilised=True).scaling == 2.0


def test_a_pipe_in_the_place_of_a_lora_file_is_called_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match="the LoRA file cannot be read: it is a pipe"):
        read_lora(tmp_path / "lora.safetensors")


def test_a_model_in_the_place_of_a_lora_file_is_known_by_its_keys(tmp_path, monkeypatch):
    save_file({"blocks.0.weight": torch.zeros(2), "head.bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    monkeypatch.setattr("blissmask.training.lora.file.read_tensors", None)
    with pytest.raises(ModelError, match="no LoRA: none of its keys names a part of one") as caught:
        read_lora(tmp_path / "model.safetensors")
    assert caught.value.problems[0].where[1:] == ("`blocks.0.weight`", "`head.bias`")


def test_a_lora_file_that_does_not_fit_into_memory_is_called_that(tmp_path, monkeypatch):
    path = tmp_path / "lora.safetensors"
    save_file({"a.lora_A.weight": torch.zeros(2)}, path)

    def refuse(name, framework):
        if framework == "pt":
            raise RuntimeError("unable to mmap 57154088440 bytes: Cannot allocate memory (12)")
        return safe_open(name, framework=framework)

    monkeypatch.setattr("blissmask.cachefile.read_file.safe_open", refuse)
    with pytest.raises(MachineError, match="does not fit into memory") as caught:
        read_lora(path)
    assert caught.value.problems[0].where == (str(path),)


def test_a_file_without_tensors_is_called_that(tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(ModelError, match="the LoRA file holds no tensors"):
        read_lora(tmp_path / "empty.safetensors")
