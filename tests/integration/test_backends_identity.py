"""people/insightface.py: choosing the subject by InsightFace's embeddings, with a stand-in reader, and with the package where it is installed."""

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest

from blissmask.config.masks import InstanceSection
from blissmask.errors import InputError, MaskError, ModelError
from blissmask.people.identity import Reference
from blissmask.people.insightface import THRESHOLDS, InsightFaceIdentity, ReadFace, face_reader, read_references
from blissmask.people.protocol import Person, Verdict
from tests import backend_models as models
from tests.builders import random_rgb

RGB = random_rgb((100, 80))
LEFT_FACE, RIGHT_FACE = (10.0, 10.0, 30.0, 30.0), (60.0, 10.0, 80.0, 30.0)


def embedding(cosine):
    """Return a vector of length 1 with this cosine to the subject's, which is (1, 0, 0)."""
    return np.array([cosine, np.sqrt(1 - cosine**2), 0], np.float32)


SUBJECT = embedding(1.0)


@dataclass
class Reader:
    faces: list
    identity: str = "stand-in"

    def read(self, rgb_HW3):
        return self.faces


def seen(cosine, box=LEFT_FACE):
    return ReadFace(box, embedding(cosine), clear=True)


def people():
    masks = np.zeros((2, 80, 100), bool)
    masks[0, :, :50] = True
    masks[1, :, 50:] = True
    return [Person(mask, (0, 0, 100, 80), 0.9) for mask in masks]


def choice(*faces, negatives=()):
    return InsightFaceIdentity(Reader(list(faces)), [SUBJECT], negatives).choose(RGB, people())


def test_the_nearest_face_is_the_subject():
    chosen = choice(seen(0.1), seen(0.7, RIGHT_FACE))
    assert (chosen.verdict, chosen.person) == (Verdict.FOUND, 1)
    assert chosen.distance == pytest.approx(np.sqrt(2 - 1.4))


def test_its_own_threshold_is_a_cosine_of_045():
    assert THRESHOLDS.max_distance == pytest.approx(np.sqrt(2 - 2 * 0.45), abs=0.005)
    assert choice(seen(0.46)).verdict is Verdict.FOUND
    assert choice(seen(0.42)).verdict is Verdict.UNCERTAIN
    assert choice(seen(0.3)).verdict is Verdict.ABSENT


def test_a_face_nearer_to_a_negative_is_somebody_else():
    assert choice(seen(0.6), negatives=[embedding(0.65)]).verdict is Verdict.ABSENT


def test_no_face_is_said():
    assert choice().verdict is Verdict.NO_FACE


def test_references_need_one_face_each_and_all_bad_ones_are_named():
    with pytest.raises(MaskError) as refusal:
        read_references(Reader([seen(1), seen(0.5)]), [Reference("a.png", RGB), Reference("b.png", RGB)])
    assert [problem.where for problem in refusal.value.problems] == [("a.png",), ("b.png",)]


def test_identity_without_references_is_refused():
    with pytest.raises(InputError):
        InsightFaceIdentity(Reader([]), [])


needs_package = pytest.mark.skipif(importlib.util.find_spec("insightface") is None, reason="the extra `insightface` is not installed")


@needs_package
def test_networks_of_a_folder_are_read_by_the_package(tmp_path):
    reader = face_reader(InstanceSection(identity_model=models.insightface_pack(tmp_path), device="cpu"))
    (face,) = reader.read(random_rgb((640, 640)))
    assert face.box_xyxy == pytest.approx((192, 160, 352, 352))
    assert face.clear
    assert np.linalg.norm(face.embedding_D) == pytest.approx(1, abs=1e-5)
    assert face.embedding_D.shape == (512,)
    assert reader.identity.startswith("insightface-1-")


@needs_package
def test_folder_without_a_recogniser_is_refused(tmp_path):
    (models.insightface_pack(tmp_path) / "rec_tiny.onnx").unlink()
    with pytest.raises(ModelError, match="no face recogniser"):
        face_reader(InstanceSection(identity_model=tmp_path, device="cpu")).read(RGB)
