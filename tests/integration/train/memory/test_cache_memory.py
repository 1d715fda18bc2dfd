"""What a training keeps of the cache: copies in memory, none of the files."""

from pathlib import Path

import pytest

from blissmask.events import Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.training import train_config, write_masked_set

MAPS = Path("/proc/self/maps")


@pytest.mark.skipif(not MAPS.is_file(), reason="only Linux tells a process's maps")
@pytest.mark.parametrize("use_mask_loss", [False, True])
def test_no_cache_file_stays_mapped_while_its_item_is_kept(tmp_path, use_mask_loss):
    """Linux lets a process have 65,530 maps, and each item came from two files: about 32,000 entries ended the command."""
    cache = write_masked_set(tmp_path / "cache", count=3)
    mapped = []

    class Look:
        def emit(self, event):
            if isinstance(event, Measured):
                mapped.append([line for line in MAPS.read_text().splitlines() if str(cache) in line])

    plan = plan_training(train_config(cache, tmp_path / "out", use_mask_loss=use_mask_loss))
    train_lora.run(plan, RunContext(Look()))
    assert mapped == [[], []]
