"""Every example works: each configuration is read, and the quickstart's steps are run."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from blissmask.config.load import load_config
from blissmask.media.image import read_grey, read_header

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIGURATIONS = sorted(EXAMPLES.rglob("*.toml"))


@pytest.mark.parametrize("path", [path for path in CONFIGURATIONS if path.name != "pyproject.toml"], ids=lambda path: path.name)
def test_example_configuration_is_valid(path):
    assert load_config(path, {}).datasets


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    shutil.copytree(EXAMPLES / "quickstart", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("work", ".venv"))
    return folder


@pytest.mark.slow
def test_quickstart_goes_the_whole_road(quickstart, blissmask):
    work = quickstart / "work"
    summaries = {}
    for command in ("masks", "instance", "apply", "to-alpha", "cache"):
        ran = blissmask(command, "--json", cwd=quickstart)
        assert ran.code == 0, ran.err
        summaries[command] = json.loads(ran.out)
        assert summaries[command]["failed"] == []
    assert all(summary["written"] >= 3 for summary in summaries.values())
    assert summaries["cache"]["mask_sources"] == {"alpha": 3, "file": 0, "full": 0}

    # In the group photo she is on the left; the photographer on the right ends at weight 0.
    group = read_grey(work / "subject_masks" / "eileen-and-photographer.png")
    assert group[:, :480].mean() > 40
    assert group[:, 480:].mean() < 1
    assert read_grey(work / "masks" / "eileen-and-photographer.png")[:, 480:].mean() > 20
    assert read_header(work / "rgba" / "eileen-close.png").has_alpha

    ran = blissmask("train", cwd=quickstart)
    assert ran.code == 0, ran.err
    assert "MASK-WEIGHTED LOSS TRAINING ENABLED" in ran.err
    (lora,) = (work / "lora").glob("eileen*.safetensors")
    with safe_open(lora, "pt") as file:
        assert any(key.startswith("diffusion_model.blocks.0.self_attn.q.lora_A") for key in file.keys())  # noqa: SIM118
        assert file.metadata()["ss_mask_gamma"] == "0.7"


@pytest.mark.slow
def test_second_quickstart_run_has_nothing_left_to_do(quickstart, blissmask):
    for command in ("masks", "instance", "apply", "to-alpha", "cache"):
        document = json.loads(blissmask(command, "--json", cwd=quickstart).out)
        assert document["written"] == 0, command
