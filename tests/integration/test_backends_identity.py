"""Identities by name: what each promises, and InsightFace's own reader where the package is installed."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

from blissmask.config.masks import InstanceSection
from blissmask.errors import MissingPackageError, ModelError, UsageError
from blissmask.people.faces import insightface
from blissmask.people.faces.registry import IDENTITIES
from tests import backend_models as models
from tests.builders import random_rgb


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


def test_insightface_without_the_package_names_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError) as refusal:
        insightface.face_reader(InstanceSection(identity="insightface"))
    assert "pip install 'blissmask[insightface]'" in refusal.value.problems[0].fix


@pytest.mark.parametrize(("folder", "what"), [(None, "no folder was named"), ("empty", "holds no `.onnx` files")])
def test_insightface_without_networks_says_what_to_name(monkeypatch, tmp_path, folder, what):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    with pytest.raises(ModelError, match=what) as refusal:
        insightface.face_reader(InstanceSection(identity_model=folder and tmp_path / folder))
    assert "--identity-model FOLDER" in refusal.value.problems[0].fix


needs_package = pytest.mark.skipif(importlib.util.find_spec("insightface") is None, reason="the extra `insightface` is not installed")


@needs_package
def test_networks_of_a_folder_are_read_by_the_package(tmp_path):
    reader = insightface.face_reader(InstanceSection(identity_model=models.insightface_pack(tmp_path), device="cpu"))
    (face,) = reader.faces(random_rgb((640, 640)))
    assert face.box_xyxy == pytest.approx((192, 160, 352, 352))
    assert face.clear
    assert np.linalg.norm(face.embedding_D) == pytest.approx(1, abs=1e-5)
    assert face.embedding_D.shape == (512,)
    assert reader.identity.startswith("insightface-1-")


@needs_package
def test_folder_without_a_recogniser_is_refused(tmp_path):
    (models.insightface_pack(tmp_path) / "rec_tiny.onnx").unlink()
    with pytest.raises(ModelError, match="no face recogniser"):
        insightface.face_reader(InstanceSection(identity_model=tmp_path, device="cpu")).faces(random_rgb())
