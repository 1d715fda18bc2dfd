"""Missing weights, packages and permissions: one message with what to give or to type, before anything is written."""

import importlib.util
import json

import pytest

from blissmask.config.sections.mask_sections import InstanceSection, MasksSection
from blissmask.errors import MissingPackageError, ModelError, UsageError
from blissmask.parsing.parts_backend import PARSING
from blissmask.people.people_backend import PEOPLE
from tests.builders import backend_models as models
from tests.builders.pictures import photo_folder, random_rgb

HEAVY = [(PARSING, MasksSection, name) for name in ("sapiens", "sapiens2", "huggingface", "sam3")]
HEAVY += [(PEOPLE, InstanceSection, name) for name in ("sam3", "rfdetr", "yolo")]
COMMANDS = {MasksSection: "masks", InstanceSection: "instance"}


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
    assert "nor a hub model of this name on this machine" in problem.what
    assert "--download" in problem.fix


@pytest.mark.parametrize("name", ["sapiens2", "sam3"])
def test_folder_of_another_model_is_refused_by_name(name, tmp_path):
    problem = refusal_of(PARSING, MasksSection, name, model=str(models.segformer_folder(tmp_path)))
    assert "segformer" in problem.what.casefold()


def test_detector_without_people_is_refused(tmp_path):
    folder = models.rfdetr_folder(tmp_path, labels=("cat", "dog"))
    assert (
        "none of the model's 2 classes is `person`"
        in refusal_of(PEOPLE, InstanceSection, "rfdetr", model=str(folder)).what
    )


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


def test_torchvision_that_does_not_belong_to_torch_is_named(tmp_path, monkeypatch):
    """PyPI's wheels of torchvision beside a CPU build of torch fail in this way."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    (tmp_path / "yolo26n-seg.pt").write_bytes(b"")
    backend = PEOPLE.load("yolo").backend(InstanceSection(model=str(tmp_path / "yolo26n-seg.pt"), device="cpu"))
    with pytest.raises(MissingPackageError, match="operator torchvision::nms does not exist") as refusal:
        backend.people(random_rgb())
    assert "`torch` and `torchvision` of one build" in refusal.value.problems[0].fix


def test_export_on_a_gpu_is_refused(tmp_path):
    with pytest.raises(UsageError, match="exports run on the CPU, not on `cuda`"):
        PEOPLE.load("yolo").backend(InstanceSection(model=str(models.yolo_export(tmp_path)), device="cuda"))


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


def refused(command, capsys, *arguments):
    """Run a command that must end with exit code 1 and one error, and return its text without line breaks."""
    capsys.readouterr()
    assert command(*arguments, "--input", "photos", "--output", "out", "--device", "cpu") == 1
    said = capsys.readouterr().err
    assert said.count("error:") == 1
    return " ".join(said.split())


@pytest.mark.parametrize(("name", "command_name"), [(name, COMMANDS[section]) for _, section, name in HEAVY])
def test_command_without_weights_says_what_to_type_and_writes_nothing(name, command_name, command, tmp_path, capsys):
    photo_folder(tmp_path / "photos", ["a.png"])
    assert f"--backend {name} --model" in refused(command, capsys, command_name, "--backend", name)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("name", "make", "class_name"),
    [
        ("sapiens2", models.sapiens2_folder, "Sapiens2ForSemanticSegmentation"),
        ("huggingface", models.segformer_folder, "SegformerForSemanticSegmentation"),
        ("sam3", models.sam3_folder, "Sam3Model"),
        ("rfdetr", models.rfdetr_folder, "RfDetrForInstanceSegmentation"),
    ],
)
def test_transformers_too_old_for_a_model_ends_the_command_once(
    name, make, class_name, command, monkeypatch, tmp_path, capsys
):
    photo_folder(tmp_path / "photos", [f"{number}.png" for number in range(9)])
    (tmp_path / "model").mkdir()
    model = make(tmp_path / "model")
    monkeypatch.setattr(f"transformers.{class_name}", None)
    command_name = "instance" if name == "rfdetr" else "masks"
    said = refused(command, capsys, command_name, "--backend", name, "--model", model, "--jobs", "2")
    assert f"has no `{class_name}`" in said
    assert "`pip install -U transformers`" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".blissmask.lock"]


def test_weights_that_cannot_be_read_end_the_command_once(command, tmp_path, capsys):
    photo_folder(tmp_path / "photos", [f"{number}.png" for number in range(9)])
    (tmp_path / "sapiens.pt2").write_bytes(b"not a program")
    said = refused(command, capsys, "masks", "--backend", "sapiens", "--model", "sapiens.pt2", "--jobs", "2")
    assert "error: this is no TorchScript file sapiens.pt2" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".blissmask.lock"]


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("ultralytics", ["--backend", "yolo", "--model", "yolo26n-seg.pt"]),
        ("insightface", ["--identity", "insightface", "--reference", "photos/a.png"]),
    ],
)
def test_missing_extra_names_the_command_that_installs_it(package, arguments, command, monkeypatch, tmp_path, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *others: None if name == package else found(name, *others)
    )
    photo_folder(tmp_path / "photos", ["a.png"])
    (tmp_path / "yolo26n-seg.pt").write_bytes(b"")
    extra = {"ultralytics": "yolo"}.get(package, package)
    assert f"pip install 'blissmask[{extra}]'" in refused(command, capsys, "instance", *arguments)
    assert not (tmp_path / "out").exists()
