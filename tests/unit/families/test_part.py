"""A part says which files hold its weights, and whether they are there, without reading them."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from blissmask.errors import MachineError, MissingPackageError, ModelError, UsageError
from blissmask.families.files import part as part_module
from blissmask.families.files import safetensors_header
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors

LOW = Part(
    folder="transformer_2",
    field="dit",
    class_path="diffusers.Transformer",
    config_of=lambda tensors, path: {},
    tiny=lambda: pytest.fail("loaded"),
    tiny_name="part",
)
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
HIGH = replace(LOW, folder="transformer", field="dit_high_noise")


@pytest.mark.parametrize(("part", "expected"), [(HIGH, "high"), (LOW, "low")])
def test_each_part_has_its_own_file(tmp_path: Path, part: Part, expected: str):
    for name in ("high", "low"):
        (tmp_path / f"{name}.safetensors").touch()
    files = ModelFiles(dit=tmp_path / "low.safetensors", dit_high_noise=tmp_path / "high.safetensors")
    assert [path.stem for path in part.weight_files(files)] == [expected]


@pytest.mark.parametrize("part", [HIGH, LOW])
def test_each_part_has_its_own_folder_of_a_diffusers_model(tmp_path: Path, part: Part):
    for name in ("transformer", "transformer_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.safetensors").touch()
    assert [path.stem for path in part.weight_files(ModelFiles(model=str(tmp_path)))] == [part.folder]


@pytest.mark.parametrize("files", [ModelFiles(), ModelFiles(model="tiny"), ModelFiles(model="nobody/has-this")])
def test_a_part_that_is_not_on_this_machine_has_no_files(files: ModelFiles):
    assert LOW.weight_files(files) == []


def test_a_file_that_is_not_there_is_named_with_its_flag(tmp_path: Path):
    with pytest.raises(ModelError, match="no such model file") as caught:
        HIGH.check(ModelFiles(dit_high_noise=tmp_path / "gone.safetensors"))
    assert caught.value.problems[0].fix == "correct `--dit-high-noise`"


def test_a_file_that_may_not_be_looked_at_is_not_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(path: Path, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refused)
        file = ModelFiles(dit_high_noise=tmp_path / "closed" / "high.safetensors")
        folder = ModelFiles(model=str(tmp_path / "closed"))
        assert HIGH.is_here(file), "a dry run would otherwise go on without it, as if it were still to come"
        assert HIGH.is_here(folder)
        with pytest.raises(ModelError, match="the model file cannot be read: Permission denied"):
            HIGH.check(file)
        with pytest.raises(ModelError, match="the model folder cannot be read: Permission denied"):
            HIGH.check(folder)


def test_a_file_that_may_not_be_read_is_the_machines_error_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path = tmp_path / "closed.safetensors"
    save_file({"a": torch.ones(2)}, path)
    monkeypatch.setattr(safetensors_header, "open_ordinary", refused)
    with pytest.raises(MachineError, match="the model file cannot be read: Permission denied") as caught:
        LOW.check(ModelFiles(dit=path))
    assert caught.value.problems[0].where == (str(path),)


def test_the_header_of_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, looked_at = [], []
    header_of = safetensors_header._parsed
    monkeypatch.setattr(safetensors_header, "_parsed", lambda text, path: read.append(path) or header_of(text, path))
    path = tmp_path / "whole.safetensors"
    save_file({"model.diffusion_model.a": torch.ones(2, 3)}, path)

    def look(tensors: Tensors, path: Path) -> dict[str, object]:
        looked_at.append({name: tensor.shape for name, tensor in tensors.items()})
        return {}

    replace(LOW, config_of=look, check_tensors=look).check(ModelFiles(dit=path))
    assert (read, looked_at) == ([path], [{"a": (2, 3)}] * 2)


def test_a_diffusers_without_the_class_is_told_with_what_mends_it():
    newer = replace(LOW, class_path="diffusers.TransformerOfTomorrow")
    with pytest.raises(MissingPackageError, match="this diffusers has no `TransformerOfTomorrow`") as caught:
        newer.load(ModelFiles(model="tiny"), **CPU)
    assert caught.value.problems[0].fix == "upgrade it: `pip install --upgrade diffusers`"


@pytest.mark.parametrize("error", [ImportError, RuntimeError])
def test_a_diffusers_that_does_not_fit_another_package_is_told_with_what_mends_it(tmp_path: Path, monkeypatch, error):
    def refuse(package: str):
        raise error("Failed to import diffusers.loaders\nTraceback")

    path = tmp_path / "whole.safetensors"
    save_file({"a": torch.ones(2)}, path)
    monkeypatch.setattr(part_module, "importlib", SimpleNamespace(import_module=refuse))
    message = "`Transformer` cannot be imported from diffusers: Failed to import diffusers.loaders$"
    for call in (lambda: LOW.load(ModelFiles(dit=path), **CPU), lambda: LOW.load_file(path, **CPU)):
        with pytest.raises(MissingPackageError, match=message):
            call()


def test_a_part_that_nobody_named_is_refused_and_one_that_is_fetched_later_is_not():
    with pytest.raises(UsageError, match="no transformer 2 given"):
        LOW.check(ModelFiles())
    LOW.check(ModelFiles(model="nobody/has-this", download=True))
    LOW.check(ModelFiles(model="tiny"))


@pytest.mark.parametrize(
    "config_of",
    [
        lambda tensors, path: {"width": tensors["a"].shape[3]},
        lambda tensors, path: {"heads": 8 // tensors["empty"].shape[0]},
        lambda tensors, path: {"layers": tensors["not there"].shape},
    ],
    ids=["too few axes", "an axis of length 0", "a name that is missing"],
)
def test_a_file_whose_tensors_have_odd_shapes_is_refused_by_name(tmp_path: Path, config_of):
    path = tmp_path / "odd.safetensors"
    save_file({"a": torch.ones(2), "empty": torch.ones(0, 3)}, path)
    with pytest.raises(ModelError, match=r"odd.safetensors is no Transformer: its tensors have other shapes") as caught:
        replace(LOW, config_of=config_of).load_file(path, **CPU)
    assert caught.value.problems[0].where == (str(path),)
    with pytest.raises(ModelError, match=r"odd.safetensors is no Transformer: its tensors have other shapes"):
        replace(LOW, config_of=config_of).check(ModelFiles(dit=path))
