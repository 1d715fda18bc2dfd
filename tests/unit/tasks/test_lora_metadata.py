"""tasks/train/saving/lora_metadata.py: what a LoRA file says of the model it was trained on."""

import pytest

from blissmask.config.model import Config
from blissmask.tasks.train.saving.lora_metadata import TrainedOn, lora_metadata
from tests.builders.families import PLAIN, family_of


@pytest.mark.parametrize(("model", "name"), [("tiny", "tiny"), (None, "real.safetensors")])
def test_with_a_miniature_the_model_is_not_the_file_that_is_named_besides(model, name):
    config = Config.model_validate({"model": {"model": model, "dit": "models/real.safetensors"}})
    facts = TrainedOn(
        items=1,
        batches_per_epoch=1,
        batches_per_step=1,
        total_steps=1,
        totals=None,
        base_identity="sampled-5eed",
        resolutions=(),
    )
    assert lora_metadata(config, family_of(PLAIN), facts, step=1, name="kyla")["ss_sd_model_name"] == name
