"""What a training state remembers of the options: their names, their order and their JSON values."""

import json

from blissmask.config.model import Config
from blissmask.tasks.train.settings import lasting_options
from tests.builders.golden_files import compare


def test_a_state_remembers_the_same_options_flat_by_name_or_states_on_disk_could_not_be_resumed():
    compare("lasting_options.json", json.dumps(lasting_options(Config()), indent=2) + "\n")


def test_where_files_go_and_how_memory_is_saved_is_not_remembered():
    other = Config.model_validate(
        {
            "train": {"max_train_steps": 7},
            "memory": {"memory": "auto", "gradient_checkpointing": True, "blocks_to_swap": 3, "sdpa": True},
            "saving": {"output_dir": "elsewhere", "keep_last": 9, "metadata_title": "Kyla"},
            "previews": {"sample_prompts": "prompts.txt"},
            "logging": {"log_with": "none"},
        }
    )
    assert lasting_options(other) == lasting_options(Config())
