"""What only a GPU can show: weights that come and go beside the computation train what weights that stay do. Skipped where there is none."""

import pytest
import torch

from blissmask.cachefile.read_file import read_tensors
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.families import TWO_EXPERTS
from tests.builders.recorder import Recorder
from tests.builders.training import ALL_LAYERS, train_config, write_masked_set

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
BOTH = {"arch": TWO_EXPERTS, "expert": "both", "high_noise_share": 0.5, "expert_run_length": 1}


def train(cache, output, **options):
    options = {
        "use_mask_loss": True,
        "prior_preservation_weight": 0.5,
        "max_train_steps": 6,
        "gradient_checkpointing": True,
        **ALL_LAYERS,
        **options,
    }
    plan = plan_training(train_config(cache, output, device="cuda", **options))
    train_lora.run(plan, RunContext(Recorder()))
    return [read_tensors(path) for path in plan.names.lora_files()]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "memory"),
    [
        ({}, {"blocks_to_swap": 1}),
        (BOTH, {"offload_inactive_dit": True}),
        (BOTH, {"offload_inactive_dit": True, "blocks_to_swap": 1}),
    ],
    ids=["swap", "offload", "both"],
)
def test_weights_that_come_and_go_train_the_same(tmp_path, dtype, shape, memory):
    cache = write_masked_set(tmp_path / "cache")
    stay = train(cache, tmp_path / "stay", dit_dtype=dtype, **shape)
    come = train(cache, tmp_path / "come", dit_dtype=dtype, **shape, **memory)
    for first, second in zip(stay, come, strict=True):
        # Attention adds up in no fixed order on a GPU.
        assert all(torch.allclose(tensor, second[key], atol=1e-3) for key, tensor in first.items())
