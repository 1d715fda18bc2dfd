"""Every heavyweight backend through `masks` and `instance`, in this process, with miniatures of the real classes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.parsing.parts_backend import PARSING
from blissmask.people.faces.face_reader import IDENTITIES
from blissmask.people.people_backend import PEOPLE
from tests.builders import backend_models as models
from tests.builders.pictures import photo_folder, save

EXAMPLE = Path(__file__).parents[3] / "examples" / "backend-package"
SIZE_WH = (45, 33)


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=SIZE_WH)


def grey(path):
    return np.array(Image.open(path))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sapiens", models.sapiens_file),
        ("sapiens2", models.sapiens2_folder),
        ("huggingface", models.segformer_folder),
        ("huggingface", models.mask2former_folder),
        ("huggingface", models.eomt_folder),
        ("sam3", models.sam3_folder),
    ],
)
def test_masks_are_made_of_tier_values_only(name, make, photos, command, tmp_path):
    (tmp_path / "model").mkdir()
    arguments = [
        "masks",
        "--backend",
        name,
        "--model",
        make(tmp_path / "model"),
        "--device",
        "cpu",
        "--quiet",
        "--batch-size",
        "2",
    ]
    assert command(*arguments, "--input", photos, "--output", tmp_path / "masks", "--min-area", "0") == 0
    for photo in ("a.png", "b.png"):
        mask = grey(tmp_path / "masks" / photo)
        assert mask.shape == SIZE_WH[::-1]
        assert set(np.unique(mask)) <= {0, 80, 128, 255}


@pytest.mark.parametrize(
    ("name", "make"), [("sam3", models.sam3_folder), ("rfdetr", models.rfdetr_folder), ("yolo", models.yolo_export)]
)
def test_instance_writes_the_largest_person(name, make, photos, command, tmp_path):
    (tmp_path / "model").mkdir()
    arguments = ["instance", "--backend", name, "--model", make(tmp_path / "model"), "--device", "cpu", "--quiet"]
    arguments += ["--input", photos, "--output", tmp_path / "subject", "--on-missing", "largest"]
    assert command(*arguments) == 0
    for photo in ("a.png", "b.png"):
        mask = grey(tmp_path / "subject" / photo)
        assert mask.shape == SIZE_WH[::-1]
        assert set(np.unique(mask)) == {0, 255}


def test_agpl_is_said_when_yolo_is_used(command, photos, tmp_path, capsys):
    model = models.yolo_export(tmp_path)
    assert (
        command(
            "instance",
            "--backend",
            "yolo",
            "--model",
            model,
            "--on-missing",
            "largest",
            "-i",
            photos,
            "-o",
            tmp_path / "out",
        )
        == 0
    )
    said = " ".join(capsys.readouterr().err.split())
    assert (
        said.count("AGPL-3.0, commercial use allowed; who serves or ships a product with it must publish the source")
        == 1
    )


@pytest.mark.parametrize("end_to_end", [False, True], ids=["with boxes to thin out", "end to end"])
def test_yolo_export_outlines_what_is_bright_in_each_box(end_to_end, tmp_path):
    from blissmask.config.sections.mask_sections import InstanceSection
    from blissmask.people.yolo import backend

    rgb = np.zeros((128, 128, 3), np.uint8)
    rgb[32:96, 16:48] = rgb[64:96, 80:112] = 255
    people = backend(InstanceSection(model=str(models.yolo_export(tmp_path, end_to_end=end_to_end)))).people(rgb)
    assert [round(person.score, 2) for person in people] == [0.9, 0.7]
    for person, box in zip(people, [(16, 32, 48, 96), (80, 64, 112, 96)], strict=True):
        assert np.abs(np.subtract(person.box_xyxy, box)).max() <= 4


def test_sam3_takes_further_prompts_from_map(tmp_path):
    options = MasksSection(model=str(models.sam3_folder(tmp_path)), map=["straw hat=hair", "person=background"])
    backend = PARSING.load("sam3").backend(options)
    assert backend.classes == ("background", "person", "hair", "face", "straw hat")
    assert backend.tiers["straw hat"] == "hair"
    assert backend.tiers["person"] == "background"


def test_sapiens2_without_names_in_its_configuration_gets_the_published_ones(tmp_path):
    backend = PARSING.load("sapiens2").backend(MasksSection(model=str(models.sapiens2_folder(tmp_path, names=False))))
    assert backend.classes[2:4] == ("Eyeglass", "Face_Neck")


def test_identity_holds_the_sha256_of_the_named_file(tmp_path):
    import hashlib

    path = models.sapiens_file(tmp_path)
    identity = PARSING.load("sapiens").backend(MasksSection(model=str(path))).identity
    assert identity == f"sapiens-1-sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(("command_name", "registries"), [("masks", [PARSING]), ("instance", [PEOPLE, IDENTITIES])])
def test_help_lists_what_there_is_without_importing_any(command_name, registries):
    members = [f"{registry.package}.{name}" for registry in registries for name in registry.names()]
    code = (
        "import sys; from blissmask.cli.app import main\n"
        f"sys.argv = ['blissmask', {command_name!r}, '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"heavy = {{'torch', 'numpy', 'cv2', 'transformers', 'onnxruntime', *{members}}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "160"}
    )
    assert done.returncode == 0, done.stderr
    for registry in registries:
        for name in registry.names():
            assert f"\n   {name} " in done.stdout.replace("\r", "")
            assert registry.describe(name) in done.stdout


def test_example_package_adds_a_backend_through_its_entry_point(tmp_path):
    """Installed as pip would leave it: the package and its metadata on the path."""
    site = tmp_path / "site"
    (site / "blissmask_brightness").mkdir(parents=True)
    for source in (EXAMPLE / "blissmask_brightness").glob("*.py"):
        (site / "blissmask_brightness" / source.name).write_bytes(source.read_bytes())
    metadata = site / "blissmask_brightness-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: blissmask-brightness\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[blissmask.parsing]\nbrightness = blissmask_brightness.parts\n")
    save(
        tmp_path / "photos" / "a.png",
        np.repeat(np.array([[[0], [128], [255]]], np.uint8), 3, axis=2).repeat(8, axis=0).repeat(8, axis=1),
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "blissmask",
            "masks",
            "--backend",
            "brightness",
            "--input",
            "photos",
            "--output",
            "masks",
            "--min-area",
            "0",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(EXAMPLE.parents[1])])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert grey(tmp_path / "masks" / "a.png")[0, ::8].tolist() == [0, 128, 255]
