"""What peft's configuration in the metadata of a file does to its tensors."""

import json
from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError
from blissmask.training.lora.peft_files import IN_METADATA, as_diffusers

PATH = Path("kyla.safetensors")
LAYER = "transformer.blocks.0.attn1.to_q"


def read(parts, config):
    """Return the tensors of the layer, by their parts, after a configuration was applied."""
    tensors = {f"{LAYER}.{part}": tensor for part, tensor in parts.items()}
    spelled = as_diffusers(tensors, {IN_METADATA: json.dumps(config)}, PATH)
    return {key.removeprefix(f"{LAYER}."): tensor for key, tensor in spelled.items()}


@pytest.mark.parametrize("config", [{"alpha": 16, "r": 4, "peft_type": "LOKR"}, {"transformer.alpha": 16}])
@pytest.mark.parametrize("part", ["lokr_w1", "hada_w1_a"])
def test_factors_whose_scale_is_in_the_configuration_are_refused(part, config):
    """They have no alpha, so that they would be read at a scale of 1."""
    with pytest.raises(ModelError, match="peft's spelling of LoKr or LoHa") as caught:
        read({part: torch.ones(4, 4)}, config)
    assert caught.value.problems[0].where == (str(PATH), f"`{LAYER}.{part}`")


def test_factors_with_an_alpha_of_their_own_are_those_of_lycoris():
    parts = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(2, 2), "alpha": torch.tensor(4.0)}
    assert read(parts, {"alpha": 16, "r": 4}).keys() == parts.keys()


@pytest.mark.parametrize("config", [{}, {"text_encoder.r": 4, "text_encoder.lora_alpha": 8}])
def test_where_nothing_is_said_of_the_denoiser_the_scale_is_one(config):
    parts = {"lora_A.weight": torch.ones(2, 4), "lora_B.weight": torch.ones(4, 2)}
    assert torch.equal(read(parts, config)["lora_B.weight"], parts["lora_B.weight"])
    factors = {"lokr_w1": torch.ones(2, 2), "lokr_w2": torch.ones(2, 2)}
    assert read(factors, config).keys() == factors.keys()
