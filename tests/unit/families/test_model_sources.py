"""Where weights come from: what names them by content, model folders, and models of the hub."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from blissmask.errors import ModelError, UsageError
from blissmask.families.files.identity import file_identity, folder_identity
from blissmask.families.files.model_files import ModelFiles, folder_of_part


def test_identity_follows_content_not_name_or_time(tmp_path: Path):
    first, second, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    other.write_bytes(b"weightz")
    os.utime(second, (1, 1))
    assert file_identity(first) == file_identity(second) != file_identity(other)


def test_identity_of_an_edited_file_is_computed_again(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    before = file_identity(path)
    path.write_bytes(b"after!")
    os.utime(path, ns=(1, 1))
    assert file_identity(path) != before


def test_large_files_are_sampled_and_their_ends_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from blissmask.families.files import identity

    monkeypatch.setattr(identity, "_WHOLE_LIMIT", 1 << 20)
    content = bytearray(6 << 20)
    found = set()
    for number, changed in enumerate((None, 0, len(content) - 1, 5 << 20)):
        if changed is not None:
            content[changed] ^= 255
        (tmp_path / str(number)).write_bytes(content)
        found.add(file_identity(tmp_path / str(number)))
    assert len(found) == 4
    assert all(name.startswith("sampled-") for name in found)


def test_folder_identity_counts_names_and_contents_of_model_files_only(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    before = folder_identity(tmp_path)
    (tmp_path / "README.md").write_text("hello", encoding="utf-8")
    assert folder_identity(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert folder_identity(tmp_path) != before


def _hub_copy(monkeypatch: pytest.MonkeyPatch, folder: Path, *parts: str) -> None:
    """Let the hub's cache hold these parts of a model; whatever is fetched adds what was asked for."""

    def snapshot_download(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        for part in [*parts, *([] if local_files_only else [pattern.removesuffix("/*") for pattern in allow_patterns])]:
            (folder / part).mkdir(exist_ok=True)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)


@pytest.mark.parametrize(("there", "fix"), [("Wan2.1-T2V", "correct the path"), ("wan2.2_t2v", "did you mean")])
def test_the_folder_of_another_model_is_not_proposed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: str, fix: str
):
    monkeypatch.chdir(tmp_path)
    Path("models", there).mkdir(parents=True)
    with pytest.raises(ModelError, match="there is no folder `models") as caught:
        folder_of_part(ModelFiles(model="models/Wan2.2-T2V"), "vae", option="--vae")
    assert str(caught.value.problems[0].fix).startswith(fix)


def test_hub_models_that_are_not_here_need_permission_and_the_flag_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    _hub_copy(monkeypatch, tmp_path, "transformer")
    files = ModelFiles(model="Wan-AI/Wan2.2-T2V-A14B-Diffusers")
    with pytest.raises(ModelError, match="nor a hub model of this name on this machine") as caught:
        folder_of_part(files, "vae", option="--vae")
    assert "--download" in caught.value.problems[0].fix
    assert folder_of_part(replace(files, download=True), "vae", option="--vae") == tmp_path / "vae"


def test_hub_models_that_are_here_need_no_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    _hub_copy(monkeypatch, tmp_path, "vae")
    assert (
        folder_of_part(ModelFiles(model="Wan-AI/Wan2.2-T2V-A14B-Diffusers"), "vae", option="--vae") == tmp_path / "vae"
    )


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "nowhere"])
def test_missing_folder_is_no_hub_id(model: str):
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        folder_of_part(ModelFiles(model=model, download=True), "vae", option="--vae")


def test_nothing_named_says_both_ways():
    with pytest.raises(UsageError) as caught:
        folder_of_part(ModelFiles(), "text_encoder", option="--text-encoder")
    assert "--text-encoder" in caught.value.problems[0].fix
    assert "--model" in caught.value.problems[0].fix


def test_model_folder_without_the_part_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="no `vae` folder"):
        folder_of_part(ModelFiles(model=str(tmp_path)), "vae", option="--vae")
