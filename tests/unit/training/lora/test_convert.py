"""LoKr and LoHa of a fused layer as a whole: what can be done with them, and what is said where nothing can."""

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError, UsageError
from blissmask.tasks.convert_lora.combination import Combination, check_files
from blissmask.training.lora.convert import convert_lora, in_parts, refuse_inconvertible
from blissmask.training.lora.names import LayerNames

PATHS = (Path("kyla.safetensors"), Path("kyla-2.safetensors"))
NATIVE, KOHYA, DIFFUSERS = "diffusion_model.blocks.0.qkv", "lora_unet_blocks_0_qkv", "transformer.blocks.0.qkv"
MODULES = {f"blocks.0.qkv:{part}": f"blocks.0.to_{part}" for part in "qkv"}
FUSED = LayerNames(MODULES, {"blocks.0.qkv": ("q", "k", "v")}, apart={}, native_alpha=True)
APART = LayerNames(MODULES, FUSED.fused, {f"blocks.0.qkv:{part}": f"blocks.0.{part}" for part in "qkv"}, True)
REFUSED = r"^`blocks\.0\.qkv` would have to be taken apart, and LoKr and LoHa of it cannot be$"


def whole(layer):
    return {
        f"{layer}.lokr_w1": torch.ones(3, 1),
        f"{layer}.lokr_w2": torch.ones(4, 4),
        f"{layer}.alpha": torch.ones(()),
    }


@pytest.mark.parametrize("names", [FUSED, APART])
@pytest.mark.parametrize("layer", [NATIVE, KOHYA, DIFFUSERS])
def test_a_whole_layer_in_parts_is_refused_in_every_spelling(layer, names):
    with pytest.raises(ModelError, match=REFUSED):
        in_parts(whole(layer), names, PATHS[0])


def test_a_whole_layer_is_spelled_another_way_where_files_keep_it_whole():
    converted = convert_lora(whole(KOHYA), "native", FUSED, PATHS[0])
    assert converted.keys() == whole(NATIVE).keys()


@pytest.mark.parametrize(("layer", "wanted", "names"), [(KOHYA, "native", APART), (DIFFUSERS, "native", FUSED)])
def test_a_conversion_that_would_take_it_apart_is_refused_beforehand(layer, wanted, names):
    with pytest.raises(ModelError, match=REFUSED):
        refuse_inconvertible(whole(layer), wanted, names, PATHS[0])


def check(combination, layers, wanted, names=APART):
    check_files(combination, [whole(layer) for layer in layers], [False] * len(layers), wanted, names)


def test_a_lower_rank_of_a_whole_layer_is_refused_in_the_plan():
    with pytest.raises(ModelError, match=REFUSED):
        check(Combination(None, PATHS[:1], (1.0,), rank=4), [NATIVE], "native", FUSED)


@pytest.mark.parametrize(("layers", "wanted"), [((NATIVE, KOHYA), "native"), ((NATIVE, NATIVE), "kohya")])
def test_an_average_with_another_spelling_in_it_is_refused_in_the_plan(layers, wanted):
    with pytest.raises(ModelError, match=REFUSED):
        check(Combination("average", PATHS, (1.0, 1.0), rank=None), layers, wanted)


def test_an_average_that_nothing_spells_anew_is_not_refused_and_diffusers_of_it_is():
    average = Combination("average", PATHS, (1.0, 1.0), rank=None)
    check(average, (NATIVE, NATIVE), "native")
    with pytest.raises(UsageError, match="no spelling for LoKr and LoHa"):
        check(average, (NATIVE, NATIVE), "diffusers")
