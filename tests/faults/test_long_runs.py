"""Promises 23 and 24: memory, files and threads stay what they are over thousands of items, and matching names is linear."""

import gc
import json
import subprocess
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.collect import collect
from tests.builders.families import PLAIN
from tests.builders.pictures import half_mask, save, tier_mask
from tests.builders.training import write_masked_set

ITEMS = 4_000
STEPS = 240
# What a run remembers of an item for its summary: name, numbers, plan. A decoded mask or photo would be more.
BYTES_PER_ITEM = 2500
BYTES_PER_STEP = 20_000
SIZE_WH = (64, 48)
FEW, MANY = 4_000, 16_000

# Prints (memory, open files, threads) of the process at even distances.
WATCHED = textwrap.dedent(
    """
    import importlib, json, os, pathlib, sys
    import torch
    from blissmask.config.model import Config
    from blissmask.events import Advanced, Measured
    from blissmask.tasks.run.plan import RunContext

    class Watcher:
        seen, samples = 0, []
        def emit(self, event):
            counts = isinstance(event, Measured) if "train" in sys.argv[2] else isinstance(event, Advanced) and event.count
            self.seen += bool(counts)
            if counts and self.seen % every == 0:
                resident = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
                self.samples.append((resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))))

    torch.set_num_threads(1)
    plan, run = importlib.import_module(sys.argv[1]).plan, importlib.import_module(sys.argv[2]).run
    sections, every = json.loads(sys.argv[3]), int(sys.argv[4])
    watcher = Watcher()
    run(plan(Config.model_validate(sections)), RunContext(watcher, jobs=2))
    print(json.dumps(watcher.samples))
    """
)


def watch(python: str, plan: str, run: str, sections: dict[str, object], *, every: int) -> np.ndarray:
    """Return (sample, 3) resident bytes, open files and threads of a run, after its first third."""
    modules = [f"blissmask.tasks.{name}" for name in (plan, run)]
    command = [python, "-c", WATCHED, *modules, json.dumps(sections, default=str), str(every)]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr
    samples = np.array(json.loads(printed.stdout.splitlines()[-1]))
    return samples[len(samples) // 3 :]


def assert_steady(samples: np.ndarray, *, every: int, bytes_each: int) -> None:
    slope = np.polyfit(np.arange(len(samples)) * every, samples[:, 0], 1)[0]
    assert slope < bytes_each
    assert samples[:, 1].max() - samples[:, 1].min() <= 4
    assert samples[:, 2].max() == samples[:, 2].min()


@pytest.mark.slow
def test_thousands_of_items_leave_memory_files_and_threads_as_they_were(tmp_path: Path, warm_python: str) -> None:
    weighted = save(tmp_path / "weighted.png", tier_mask(SIZE_WH)).read_bytes()
    subject = save(tmp_path / "subject.png", half_mask(SIZE_WH)).read_bytes()
    for folder, content in (("masks", weighted), ("subjects", subject)):
        (tmp_path / folder).mkdir()
        for number in range(ITEMS):
            (tmp_path / folder / f"{number}.png").write_bytes(content)
    section = {
        "weighted_masks": tmp_path / "masks",
        "instance_masks": tmp_path / "subjects",
        "output": tmp_path / "out",
    }
    samples = watch(warm_python, "apply.plan", "apply.run", {"apply": section}, every=250)
    assert len(samples) > ITEMS // 250 // 2
    assert_steady(samples, every=250, bytes_each=BYTES_PER_ITEM)


@pytest.mark.slow
def test_hundreds_of_steps_leave_memory_files_and_threads_as_they_were(tmp_path: Path, warm_python: str) -> None:
    write_masked_set(tmp_path / "cache")
    sections = {
        "model": {"arch": PLAIN, "model": "tiny", "device": "cpu"},
        "datasets": [{"cache_directory": tmp_path / "cache"}],
        "train": {"max_train_steps": STEPS},
        "lora": {"network_dim": 2},
        "saving": {"output_dir": tmp_path / "out", "save_every_n_steps": 20},
        "mask_loss": {"use_mask_loss": True},
    }
    samples = watch(warm_python, "train.plan", "train.train_lora", sections, every=10)
    assert_steady(samples, every=10, bytes_each=BYTES_PER_STEP)


def photos_with_masks(folder: Path, count: int) -> DatasetSection:
    for name, suffix in (("photos", ".jpg"), ("masks", ".png")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:06}{suffix}").touch()
    return DatasetSection(image_directory=folder / "photos", mask_directory=folder / "masks", caption_extension=".txt")


def matching_seconds(section: DatasetSection, count: int) -> float:
    """Return the processor time of matching ``count`` photos with masks and captions."""
    # The plan of `cache` pauses it, too; here it would look through everything that the tests before have left.
    gc.disable()
    started = time.process_time()
    found = collect(section, 1)
    seconds = time.process_time() - started
    gc.enable()
    assert sum(item.mask_path is not None for item in found.items) == count
    return seconds


@pytest.mark.slow
def test_four_times_as_many_files_take_about_four_times_as_long_to_match(tmp_path: Path) -> None:
    few, many = photos_with_masks(tmp_path / "few", FEW), photos_with_masks(tmp_path / "many", MANY)
    # 4 to 6 times, measured; whatever else the machine does slows single rounds. Matching each with each would be 16 times.
    assert any(matching_seconds(many, MANY) < 8 * matching_seconds(few, FEW) for _ in range(4))
