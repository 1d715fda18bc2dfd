"""people/yolo.py with the real package: networks of Ultralytics' own classes, as `.pt` and as exports of both layouts."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.people.yolo import YoloPeople
from tests.builders.ultralytics_models import EXPORTS, PHOTOS_WH, photo, run_with_ultralytics

LACKING = [name for name in ("ultralytics", "onnx") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"not installed here: {', '.join(LACKING)} (`tests/run.sh` installs them)"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of files that Ultralytics wrote."""
    folder = tmp_path_factory.mktemp("yolo")
    done = run_with_ultralytics(["-m", "tests.builders.ultralytics_models", folder], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def assert_largest_person_was_written(folder, said):
    for name, (width, height) in PHOTOS_WH.items():
        mask = np.array(Image.open(folder / f"{name}.png"))
        assert mask.shape == (height, width)
        assert set(np.unique(mask)) == {0, 255}
    assert said["written"] == len(PHOTOS_WH)
    assert said["licences"][0]["licence"] == "AGPL-3.0"
    assert said["licences"][0]["identity"].startswith("yolo-")


def find_largest(made, model):
    arguments = [
        "instance",
        "--backend",
        "yolo",
        "--model",
        made / model,
        "--input",
        made / "photos",
        "--output",
        "out",
    ]
    return [*arguments, "--on-missing", "largest", "--device", "cpu", "--json"]


def test_checkpoint_outlines_the_largest_person_from_the_command_line(made, tmp_path):
    done = run_with_ultralytics(["-m", "blissmask", *find_largest(made, "yolo26n-seg.pt")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_largest_person_was_written(tmp_path / "out", json.loads(done.stdout))


@pytest.mark.parametrize("name", EXPORTS)
def test_export_outlines_the_largest_person_from_the_command_line(name, made, command, tmp_path, capsys):
    assert command(*find_largest(made, f"{name}.onnx")) == 0
    assert_largest_person_was_written(tmp_path / "out", json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("name", ["yolov8", "yolo26", "yolo26-any-size"])
def test_checkpoint_and_export_see_somebody_in_the_same_places(name, made):
    """Only square photos can be compared: for exports alone, others are padded to a square, which is another picture."""
    ours, _ = read_by_us(made / f"{name}.onnx", "square")
    of_checkpoint = np.load(made / f"{name}-square.npz")["anybody_HW"]
    assert shared(np.any(ours, axis=0), of_checkpoint) > 0.95


@pytest.mark.parametrize("photo_name", PHOTOS_WH)
@pytest.mark.parametrize("name", ["yolov8", "yolo26", "yolo26-without-nms"])
def test_our_reading_of_an_export_agrees_with_that_of_the_package(name, photo_name, made):
    """The edges of boxes may differ by a pixel: the package counts a pixel by its upper left corner, we by its centre."""
    ours, our_scores = read_by_us(made / f"{name}.onnx", photo_name)
    theirs = np.load(made / f"{name}-{photo_name}.npz")
    assert our_scores == pytest.approx(theirs["scores_N"], abs=1e-4)
    agreement = np.median([max(shared(mask, other) for other in ours) for mask in theirs["masks_NHW"]])
    assert agreement > 0.93
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = [np.roll(mask, shift, axis=(0, 1)) for mask in ours]
        assert agreement > np.median([max(shared(mask, other) for other in moved) for mask in theirs["masks_NHW"]])


def test_an_export_for_pictures_of_any_size_gives_what_one_of_a_fixed_size_gives(made):
    fixed, free = (read_by_us(made / f"{name}.onnx", "wide")[0] for name in ("yolo26", "yolo26-any-size"))
    assert (np.array(fixed) == np.array(free)).mean() > 0.999


def shared(first_HW, second_HW):
    """Return intersection over union."""
    return np.sum(first_HW & second_HW) / np.sum(first_HW | second_HW)


def read_by_us(export, photo_name):
    """Return masks and scores of all outlines, best first."""
    people = YoloPeople(export, InstanceSection(device="cpu"))
    people.people(photo(PHOTOS_WH[photo_name]))
    width, height = PHOTOS_WH[photo_name]
    masks, scores = [], []
    for outline in people._reader.outlines(photo((width, height))):
        mask_HW = np.zeros((height, width), bool)
        mask_HW[outline.window] = outline.probability_hw > 0.5
        if mask_HW.any():
            masks.append(mask_HW)
            scores.append(outline.score)
    return masks, scores
