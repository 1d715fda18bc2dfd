"""Missing weights, packages and permissions: one message with what to give or to type, before anything is written."""

import json
import sys

import pytest

from blissmask.config.masks import InstanceSection, MasksSection
from blissmask.errors import MissingPackageError, ModelError
from blissmask.parsing.registry import PARSING
from blissmask.people.registry import PEOPLE
from tests import backend_models as models
from tests.builders import photo_folder, random_rgb

HEAVY = [(PARSING, MasksSection, name) for name in ("sapiens", "sapiens2", "huggingface", "sam3")]
HEAVY += [(PEOPLE, InstanceSection, name) for name in ("sam3", "rfdetr", "yolo")]


def refusal_of(registry, section, name, **options):
    with pytest.raises((ModelError, MissingPackageError)) as refusal:
        registry.load(name).backend(section(**options))
    return refusal.value.problems[0]


@pytest.mark.parametrize(("registry", "section", "name"), HEAVY)
def test_without_weights_the_message_says_what_to_give(registry, section, name):
    problem = refusal_of(registry, section, name)
    assert "named" in problem.what
    assert f"--backend {name} --model" in problem.fix


@pytest.mark.parametrize(("registry", "section", "name"), HEAVY)
def test_a_file_or_folder_that_is_not_there_is_named(registry, section, name):
    assert "no/such/place" in refusal_of(registry, section, name, model="no/such/place").what


@pytest.mark.parametrize("name", ["sapiens2", "huggingface", "sam3"])
def test_hub_id_is_not_fetched_without_permission(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    problem = refusal_of(PARSING, MasksSection, name, model="someone/some-parser-that-is-not-here")
    assert "nothing is downloaded without permission" in problem.what
    assert "--download" in problem.fix


@pytest.mark.parametrize("name", ["sapiens2", "sam3"])
def test_folder_of_another_model_is_refused_by_name(name, tmp_path):
    problem = refusal_of(PARSING, MasksSection, name, model=str(models.segformer_folder(tmp_path)))
    assert "segformer" in problem.what.casefold()


def test_detector_without_people_is_refused(tmp_path):
    folder = models.rfdetr_folder(tmp_path, labels=("cat", "dog"))
    assert "none of the model's 2 classes is `person`" in refusal_of(PEOPLE, InstanceSection, "rfdetr", model=str(folder)).what


def test_unknown_class_of_a_model_prints_the_map_to_write(tmp_path):
    folder = models.segformer_folder(tmp_path, labels=("background", "face", "street lamp"))
    problem = refusal_of(PARSING, MasksSection, "huggingface", model=str(folder))
    assert "  2  street lamp  ?" in problem.where
    assert "--map 'street lamp=background'" in problem.fix
    backend = PARSING.load("huggingface").backend(MasksSection(model=str(folder), map=["street lamp=background"]))
    assert backend.tiers["street lamp"] == "background"


def test_file_that_is_no_torchscript_is_refused(tmp_path):
    path = tmp_path / "sapiens.pt2"
    path.write_bytes(b"not a program")
    backend = PARSING.load("sapiens").backend(MasksSection(model=str(path), device="cpu"))
    with pytest.raises(ModelError, match="no TorchScript file"):
        backend.parse([random_rgb()])


def test_sapiens2_file_given_to_sapiens_is_refused_for_its_classes(tmp_path):
    path = models.sapiens_file(tmp_path, classes=29)
    backend = PARSING.load("sapiens").backend(MasksSection(model=str(path), device="cpu"))
    with pytest.raises(ModelError, match="tells 29 classes apart, 28 were expected"):
        backend.parse([random_rgb()])


def test_weights_that_a_folder_lacks_are_not_made_up(tmp_path):
    folder = models.segformer_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "depths": [2, 1]}))
    backend = PARSING.load("huggingface").backend(MasksSection(model=str(folder), device="cpu"))
    with pytest.raises(ModelError, match="weights are missing"):
        backend.parse([random_rgb()])


def test_yolo_checkpoint_without_the_package_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / "yolo26n-seg.pt"
    path.write_bytes(b"")
    problem = refusal_of(PEOPLE, InstanceSection, "yolo", model=str(path))
    assert "AGPL-3.0" in problem.what
    assert "pip install 'blissmask[yolo]'" in problem.fix


def test_damaged_onnx_file_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x01broken")
    backend = PEOPLE.load("yolo").backend(InstanceSection(model=str(path)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        backend.people(random_rgb())


@pytest.mark.parametrize(
    ("card", "name", "commercial"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0", True),
        ("---\ntags: [x]\nlicense: other\nlicense_name: nvidia-nc\n---\n", "nvidia-nc", False),
        ("---\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0", False),
        ("# A model\nlicense: mit\n", "unknown", False),
        (None, "unknown", False),
    ],
)
def test_licence_is_what_the_model_card_says(tmp_path, card, name, commercial):
    folder = models.segformer_folder(tmp_path)
    if card is not None:
        (folder / "README.md").write_text(card)
    licence = PARSING.load("huggingface").backend(MasksSection(model=str(folder))).licence
    assert (licence.name, licence.commercial) == (name, commercial)


def test_command_fails_with_one_message_and_writes_nothing(blissmask, tmp_path):
    photo_folder(tmp_path / "photos", ["a.png"])
    done = blissmask("masks", "--input", "photos", "--output", "masks", "--backend", "sapiens")
    assert done.code == 1
    assert "error: `sapiens` needs a Sapiens segmentation file" in done.err.replace("\n", " ").replace("  ", " ")
    assert not (tmp_path / "masks").exists()
