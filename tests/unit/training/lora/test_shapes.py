"""Which tensors are one LoRA: whole, of one kind, and of sizes that fit each other."""

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError
from blissmask.training.lora.shapes import refuse_impossible

PATH = Path("kyla.safetensors")
PAIR = {"lora_A.weight": (2, 6), "lora_B.weight": (4, 2)}
LOKR = {"lokr_w1": (2, 3), "lokr_w2_a": (2, 1), "lokr_w2_b": (1, 2)}
LOHA = {"hada_w1_a": (4, 2), "hada_w1_b": (2, 6), "hada_w2_a": (4, 1), "hada_w2_b": (1, 6)}


def check(shapes):
    refuse_impossible({f"diffusion_model.q.{part}": torch.ones(shape) for part, shape in shapes.items()}, PATH)


@pytest.mark.parametrize(
    "shapes",
    [
        PAIR,
        LOKR,
        LOHA,
        {"lora_down.weight": (2, 6), "lora_up.weight": (4, 2), "alpha": ()},
        {**PAIR, "alpha": (1,), "dora_scale": (4, 1)},
        {**PAIR, "lora_magnitude_vector": (4,)},
        {**LOKR, "dora_scale": (4, 1)},
    ],
)
def test_whole_layers_pass(shapes):
    check(shapes)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"alpha": ()}, "has not both matrices"),
        ({"dora_scale": (4, 1)}, "has not both matrices"),
        ({"lora_A.weight": (2, 6), "lora_up.weight": (4, 2)}, "tensors of 2 kinds"),
        ({**PAIR, **LOHA}, "tensors of 2 kinds"),
        ({**PAIR, "lora_B.weight": (4, 3)}, "have rank 2 and 3"),
        # LyCORIS with `wd_on_out = False`; where outputs and inputs are as many, it would pass for the other kind.
        ({**PAIR, "dora_scale": (1, 6)}, "those of its 4 outputs alone"),
        ({"lora_A.weight": (2, 6), "lora_B.weight": (6, 2), "dora_scale": (1, 6)}, "those of its 6 outputs alone"),
        ({**LOKR, "dora_scale": (6, 1)}, "those of its 4 outputs alone"),
        ({"lokr_w1": (2, 3)}, "this file has nothing of it"),
        ({"lokr_w1": (2, 3), "lokr_w2_a": (2, 1)}, "this file has lokr_w2_a of it"),
        ({**LOKR, "lokr_w1_a": (2, 1)}, "this file has lokr_w1 and lokr_w1_a of it"),
        ({**LOKR, "lokr_w2_b": (3, 2)}, "have rank 1 and 3"),
        ({**LOKR, "lokr_w1": (2, 3, 1, 1)}, "must be a matrix"),
        ({**LOHA, "hada_w2_b": (1, 5)}, "have sizes"),
        ({"hada_w1_a": (4, 2), "hada_w1_b": (2, 6)}, "this file has nothing of it"),
        ({**PAIR, "lora_A.weight": (2, 6, 3, 3)}, "must be a matrix"),
        # Sizes fit without the core, and the update would be another one.
        ({**PAIR, "lora_mid.weight": (2, 2)}, "changes its layer in a way that is not read"),
        ({**LOKR, "lokr_t2": (2, 2, 3, 3)}, "changes its layer in a way that is not read"),
        ({**PAIR, "lora_B.bias": (4,)}, "changes its layer in a way that is not read"),
    ],
)
def test_what_is_no_one_update_is_refused_by_layer(shapes, says):
    with pytest.raises(ModelError, match=says) as caught:
        check(shapes)
    assert caught.value.problems[0].where == (str(PATH),)
