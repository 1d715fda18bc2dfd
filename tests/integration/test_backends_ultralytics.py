"""people/yolo.py with the real package, where the extra `yolo` is installed: a YOLO-seg built from its YAML, and its ONNX export."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from blissmask.config.masks import InstanceSection
from blissmask.people.yolo import YoloPeople, backend
from tests.builders import random_rgb

pytest.importorskip("ultralytics")
# Tracing for the export warns about every branch that depends on a shape.
pytestmark = pytest.mark.filterwarnings("ignore")
SIDE = 160


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Save a network of random weights whose first class, the person, is seen in a few places of :func:`photo`."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    network = YOLO("yolov8n-seg.yaml").model.eval()
    network.names = {0: "person", **{number: f"thing {number}" for number in range(1, 80)}}
    heads = [branch[-1] for branch in network.model[-1].cv3]
    for head in heads:
        torch.nn.init.normal_(head.weight)
        torch.nn.init.constant_(head.bias, -8.0)
    with torch.no_grad():
        pixels = torch.from_numpy(np.ascontiguousarray(photo().transpose(2, 0, 1)[None])).float() / 255
        output = network(pixels)[0]
        scores = torch.logit((output[0] if isinstance(output, tuple) else output)[0, 4])
        for head in heads:
            head.bias[0] += 1.0 - float(scores.sort(descending=True).values[5])
    path = tmp_path_factory.mktemp("yolo") / "tiny-seg.pt"
    torch.save({"model": network, "train_args": {"imgsz": SIDE}, "epoch": -1}, path)
    return path


def photo():
    return cv2.GaussianBlur(random_rgb((SIDE, SIDE)), (0, 0), 4)


def test_checkpoint_finds_people_at_the_size_of_the_photo(checkpoint):
    people = backend(InstanceSection(model=str(checkpoint), device="cpu")).people(photo())
    assert people
    assert {person.mask_HW.shape for person in people} == {(SIDE, SIDE)}


def test_our_reading_of_an_export_agrees_with_the_package(checkpoint):
    pytest.importorskip("onnx")
    from ultralytics import YOLO

    export = YOLO(str(checkpoint)).export(format="onnx", imgsz=SIDE, simplify=False, verbose=False)
    bgr = np.ascontiguousarray(photo()[..., ::-1])
    result = YOLO(export, task="segment").predict(bgr, imgsz=SIDE, retina_masks=True, classes=[0], conf=0.25, verbose=False)[0]
    theirs = result.masks.data.cpu().numpy() > 0.5
    reader = YoloPeople(Path(export), InstanceSection(device="cpu"))
    reader.people(photo())
    ours = [placed(outline) for outline in reader._reader.outlines(photo())]
    agreement = [max(np.sum(mask & other) / np.sum(mask | other) for other in ours) for mask in theirs]
    assert np.median(agreement) > 0.95


def placed(outline):
    mask_HW = np.zeros((SIDE, SIDE), bool)
    mask_HW[outline.window] = outline.probability_hw > 0.5
    return mask_HW
