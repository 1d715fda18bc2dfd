"""Promise 9: links are followed for reading and never written through; nothing is written outside the output folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from tests.faults.forks import Forks
from tests.faults.scenes import SCENES, results


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_nothing_is_written_through_a_link_in_the_output(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    output = tmp_path / scene.output
    assert forks.run(tmp_path, *scene.arguments).code == 0
    precious = tmp_path / "precious"
    shutil.copytree(output, precious, ignore=shutil.ignore_patterns("logs"))
    names = [*results(precious), ".blissmask.lock", ".blissmask.lock.json"]
    for name in names:
        (precious / name).write_bytes(precious_bytes(precious / name, command))
    before = {name: (precious / name).read_bytes() for name in names}
    shutil.rmtree(output)
    for name in names:
        link = output / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(precious / name)
    ended = forks.run(tmp_path, *scene.arguments, "--force")
    assert ended.code == 0, ended.err
    assert {name: (precious / name).read_bytes() for name in names} == before


def precious_bytes(path: Path, command: str) -> bytes:
    """Return what no run writes; files of a trial still say that they are one's, since a trial refuses to replace others."""
    if command == "train" and path.suffix == ".safetensors" and path.exists():
        with safe_open(path, framework="pt") as file:
            return save({"precious": torch.zeros(1)}, metadata=file.metadata())
    if path.name == "state.json":
        return path.read_bytes() + b"\n"
    return b"precious"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_inputs_may_be_links_and_those_that_lead_nowhere_cost_an_item(
    tmp_path: Path, forks: Forks, command: str
) -> None:
    scene = SCENES[command](tmp_path)
    assert forks.run(tmp_path, *scene.arguments).code == 0
    whole = results(tmp_path / scene.output)
    shutil.rmtree(tmp_path / scene.output)
    for folder in scene.inputs:
        (tmp_path / folder).rename(tmp_path / f"real {folder}")
        (tmp_path / folder).mkdir()
        for path in (tmp_path / f"real {folder}").iterdir():
            (tmp_path / folder / path.name).symlink_to(path)
        (tmp_path / folder / "circle.png").symlink_to("circle.png")
        (tmp_path / folder / "nowhere.png").symlink_to("no such file")
        (tmp_path / folder / "parent.png").symlink_to("..")
    if command == "cache":
        for name in ("circle", "nowhere"):
            (tmp_path / "photos" / f"{name}.txt").write_text("a person")
    ended = forks.run(tmp_path, *scene.arguments, "--json")
    if command == "train":
        # Pictures in a cache folder are none of its business.
        assert ended.code == 0, ended.err
    else:
        assert ended.code == 3, ended.err
        assert sorted(Path(failed["item"]).stem for failed in json.loads(ended.out)["failed"]) == ["circle", "nowhere"]
    present = results(tmp_path / scene.output)
    assert {name: present.get(name) for name in whole if "scores" not in name} == {
        n: c for n, c in whole.items() if "scores" not in n
    }


@pytest.mark.parametrize("command", sorted(SCENES))
def test_an_output_that_is_a_link_in_a_circle_is_named(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    (tmp_path / scene.output).symlink_to(scene.output)
    ended = forks.run(tmp_path, *scene.arguments)
    assert ended.code == 1, ended.err
    assert f"/{scene.output}\n" in ended.err or f"  {scene.output}\n" in ended.err
