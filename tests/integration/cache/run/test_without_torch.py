"""A cache that is fresh is known to be so without PyTorch, whose import takes longer than planning thousands of items."""

import json
import subprocess
import sys

import pytest
import torch

from blissmask.families.files.part import Part
from tests.builders.cache import PHOTO_WH, build, captions, on_videos, video_folder
from tests.builders.families import TWO_EXPERTS, family_of
from tests.builders.pictures import mask_folder, photo_folder
from tests.builders.single_files import state_of, written

_HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft", "onnxruntime"}
_COMMAND = f"""
import sys
from blissmask.cli.app import main
try:
    main()
except SystemExit as end:
    code = end.code
import json
print(json.dumps([code, sorted({sorted(_HEAVY)} & sys.modules.keys())]))
"""


def heavy_modules(folder, *flags, model=("--model", "tiny")):
    """Run `blissmask cache` in a process of its own; return its exit code and which heavy modules it loaded."""
    arguments = ["cache", "--config", str(folder / "blissmask.toml"), "--arch", TWO_EXPERTS, *model, *flags]
    process = subprocess.run([sys.executable, "-c", _COMMAND, *arguments], capture_output=True, text=True, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def configure(folder, **keys):
    lines = ["[[datasets]]", "resolution = [64, 48]", f"cache_directory = {str(folder / 'cache')!r}"]
    lines += [
        f"{key} = {str(value)!r}" if isinstance(value, str) else f"{key} = {value}" for key, value in keys.items()
    ]
    (folder / "blissmask.toml").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def photos(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png"], size_wh=PHOTO_WH)
    captions(tmp_path, ["a", "b"])
    configure(tmp_path, image_directory=str(tmp_path / "photos"), mask_directory=str(tmp_path / "masks"))
    return tmp_path


def test_a_run_over_fresh_photos_loads_none(photos):
    build(photos, mask_directory=photos / "masks")
    assert heavy_modules(photos) == [0, []]


def test_a_run_over_fresh_clips_loads_none(tmp_path):
    build(video_folder(tmp_path, "clip"), **on_videos(tmp_path, frame_extraction="chunk"))
    configure(tmp_path, video_directory=str(tmp_path / "videos"), target_frames=[5], frame_extraction="chunk")
    assert heavy_modules(tmp_path) == [0, []]


def test_a_dry_run_loads_none_whatever_there_is_to_do(photos):
    """The header of a model file is looked into, too."""
    [vae] = [part for part in family_of(TWO_EXPERTS).for_task().task.latents if isinstance(part, Part)]
    file = written(photos / "vae.safetensors", state_of(vae.tiny)[1])
    assert heavy_modules(photos, "--dry-run", model=("--vae", str(file))) == [0, []]


def test_a_run_with_work_loads_what_it_needs(photos):
    assert {"torch", "diffusers"} <= set(heavy_modules(photos)[1])


def test_every_family_can_be_asked_for_its_geometry_and_its_files(tmp_path):
    code = f"""
import sys
from pathlib import Path
from blissmask.errors import ModelError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Part
from blissmask.families.registry import FAMILIES, load_family
def is_refused(part):
    try:
        part.check(ModelFiles(**{{part.field: Path({str(tmp_path / "other.safetensors")!r})}}))
    except ModelError as error:
        return "is no" in str(error)
for family in map(load_family, FAMILIES.names()):
    assert family.latent.channels
    for task in map(family.for_task, family.tasks):
        assert task.experts
        assert task.latent_identity(ModelFiles(model="tiny"))
        assert task.text_identity(ModelFiles(model="tiny"))
        parts = [*task.task.latents, *task.task.text, *(expert.part for expert in task.experts)]
        assert all(is_refused(part) for part in parts if isinstance(part, Part))
sys.exit("torch" in sys.modules)
"""
    written(tmp_path / "other.safetensors", {"a": torch.ones(2)})
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
