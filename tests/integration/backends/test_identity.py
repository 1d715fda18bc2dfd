"""Identities by name: their promises; and InsightFace, the real package on a miniature pack, through the command."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.errors import MissingPackageError, ModelError, UsageError
from blissmask.media.mask_picture import read_grey
from blissmask.people.faces import insightface
from blissmask.people.faces.face_reader import IDENTITIES
from tests.builders import backend_models as models
from tests.builders.pictures import random_rgb, save


def test_each_identity_says_in_one_line_what_it_is():
    assert IDENTITIES.names() == ["embedded", "insightface"]
    for name in IDENTITIES.names():
        assert 10 < len(IDENTITIES.describe(name)) < 110


def test_unknown_identity_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="unknown identity `insigthface`; there are embedded, insightface") as refusal:
        IDENTITIES.load("insigthface")
    assert refusal.value.problems[0].fix == "did you mean `insightface`?"


def test_embedded_identity_needs_nothing_and_may_be_used_commercially():
    reader = IDENTITIES.load("embedded").face_reader(InstanceSection())
    assert reader.identity.startswith("dlib-resnet-")
    assert reader.licence.commercial
    assert reader.faces(random_rgb()) == []


def test_insightface_threshold_is_a_cosine_of_045_and_its_weights_are_for_research():
    assert insightface.THRESHOLDS.max_distance == pytest.approx(np.sqrt(2 - 2 * 0.45), abs=0.005)
    assert not insightface.LICENCE.commercial


@pytest.mark.parametrize(("folder", "what"), [(None, "no folder was named"), ("empty", "holds no `.onnx` files")])
def test_insightface_without_networks_says_what_to_name(monkeypatch, tmp_path, folder, what):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    with pytest.raises(ModelError, match=what) as refusal:
        insightface.face_reader(InstanceSection(identity_model=folder and tmp_path / folder))
    assert "--identity-model FOLDER" in refusal.value.problems[0].fix


def test_insightface_that_cannot_be_imported_names_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    monkeypatch.setitem(sys.modules, "insightface", SimpleNamespace())
    reader = insightface.face_reader(InstanceSection(identity_model=models.insightface_pack(tmp_path), device="cpu"))
    with pytest.raises(
        MissingPackageError, match=r"`insightface` cannot be imported: import of insightface\.app halted"
    ):
        reader.faces(random_rgb())


LACKING = [name for name in ("insightface", "onnx", "skimage") if importlib.util.find_spec(name) is None]
needs_package = pytest.mark.skipif(
    bool(LACKING), reason=f"not installed here: {', '.join(LACKING)} (`tests/run.sh` installs them)"
)
SUBJECT_RGB, STRANGER_RGB = (255, 255, 0), (255, 0, 255)


def photo_of(*faces):
    """Return a black photo with a face of each (colour, left, top)."""
    rgb = np.zeros((640, 640, 3), np.uint8)
    for colour, left, top in faces:
        rgb[top : top + models.FACE_SIDE, left : left + models.FACE_SIDE] = colour
    return rgb


@pytest.fixture
def pack(tmp_path):
    (tmp_path / "tiny_pack").mkdir()
    return models.insightface_pack(tmp_path / "tiny_pack")


@needs_package
def test_networks_of_a_folder_are_read_by_the_package(pack):
    reader = insightface.face_reader(InstanceSection(identity_model=pack, device="cpu"))
    first, second = sorted(
        reader.faces(photo_of((SUBJECT_RGB, 64, 32), (STRANGER_RGB, 384, 416))), key=lambda face: face.box_xyxy
    )
    assert first.box_xyxy == pytest.approx((64, 32, 256, 224))
    assert second.box_xyxy == pytest.approx((384, 416, 576, 608))
    assert first.clear
    assert first.embedding_D.shape == (512,)
    assert np.linalg.norm(first.embedding_D) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(first.embedding_D - second.embedding_D) > insightface.THRESHOLDS.max_distance
    assert reader.faces(photo_of()) == []


@needs_package
def test_folder_without_a_recogniser_is_refused(pack):
    (pack / "rec_tiny.onnx").unlink()
    with pytest.raises(ModelError, match="no face recogniser"):
        insightface.face_reader(InstanceSection(identity_model=pack, device="cpu")).faces(random_rgb())


@needs_package
def test_folder_without_a_detector_is_refused(pack):
    (pack / "det_tiny.onnx").unlink()
    with pytest.raises(ModelError, match="no face detector"):
        insightface.face_reader(InstanceSection(identity_model=pack, device="cpu")).faces(random_rgb())


@pytest.fixture
def search(pack, tmp_path):
    """Write two group photos and a reference, and return the command that searches for the subject."""
    save(tmp_path / "photos" / "group.png", photo_of((STRANGER_RGB, 64, 32), (SUBJECT_RGB, 384, 416)))
    save(tmp_path / "photos" / "stranger.png", photo_of((STRANGER_RGB, 64, 32)))
    save(tmp_path / "reference.png", photo_of((SUBJECT_RGB, 224, 224)))
    arguments = [
        "instance",
        "--input",
        "photos",
        "--output",
        "out",
        "--reference",
        "reference.png",
        "--json",
        "--device",
        "cpu",
    ]
    arguments += ["--backend", "yolo", "--model", models.yolo_export(tmp_path)]
    return [*arguments, "--identity", "insightface", "--identity-model", pack]


@needs_package
def test_insightface_finds_the_subject_from_the_command_line(command, search, tmp_path, capsys):
    assert command(*search) == 0
    mask = read_grey(tmp_path / "out" / "group.png")
    assert mask[512, 480] == 255
    assert mask[128, 160] == 0
    assert not read_grey(tmp_path / "out" / "stranger.png").any()
    said = json.loads(capsys.readouterr().out)
    assert said["verdicts"] == {"found": 1, "uncertain": 0, "not in this photo": 1, "no face": 0}
    assert [entry["licence"] for entry in said["licences"]] == ["AGPL-3.0", "InsightFace model licence"]
    assert said["licences"][1]["identity"].startswith("insightface-1-tiny_pack-sha256:")


@needs_package
def test_insightface_is_refused_where_only_commercial_use_is_wanted(command, search, tmp_path, capsys):
    assert command(*search, "--commercial-only") == 2
    assert (
        "`--identity insightface` may not be used commercially"
        in json.loads(capsys.readouterr().out)["problems"][0]["what"]
    )
    assert not (tmp_path / "out").exists()
