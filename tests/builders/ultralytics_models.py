"""Build YOLO-seg files with Ultralytics' own classes, export them, and record the results of Ultralytics with each.

    python -m tests.builders.ultralytics_models FOLDER

Ultralytics is AGPL-3.0: it is installed in test environments only, and always runs in a process of its own
(:func:`run_with_ultralytics`). Weights are random; the class "person" has a score above a quarter in about ``PEOPLE``
places. The module writes:

- ``photos/*.png``
- ``NAME.pt`` for ``CHECKPOINTS`` and ``NAME.onnx`` for ``EXPORTS``
- ``NAME-PHOTO.npz`` with the masks_NHW and scores_N that the package reads from an export, and with anybody_HW, the
  pixels of all people that our backend finds with the checkpoint
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.people.yolo import backend
from blissmask.people.yolo_export import letterbox
from tests.builders.pictures import random_rgb, save

SIDE = 160
PEOPLE = 4
PHOTOS_WH = {"square": (SIDE, SIDE), "wide": (200, 121)}
CHECKPOINTS = ("yolov8n-seg", "yolo26n-seg")
EXPORTS = {
    "yolov8": ("yolov8n-seg", {}),
    "yolo26": ("yolo26n-seg", {}),
    "yolo26-without-nms": ("yolo26n-seg", {"nms": False}),
    "yolo26-any-size": ("yolo26n-seg", {"dynamic": True}),
}
"""Name -> its checkpoint and the options of the export.

``nms=False`` takes the head that needs no non-maximum suppression.
"""

HERE = Path(__file__).parents[1]


def run_with_ultralytics(arguments: Sequence[object], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments`` so that Ultralytics can be imported.

    Nothing is downloaded, and its settings stay in ``cwd``.
    """
    path = [HERE.parent] if importlib.util.find_spec("torchvision") else [HERE / "stand_ins", HERE.parent]
    own = {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "YOLO_CONFIG_DIR": str(cwd),
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "0",
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **own, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )


def photo(size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    return cv2.GaussianBlur(random_rgb(size_wh), (0, 0), 4)


def build(name: str, path: Path) -> Path:
    """Save a network of random weights, of the package's own description, as Ultralytics' trainer does."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    network = YOLO(f"{name}.yaml").model
    network.names = {0: "person", **{number: f"thing {number}" for number in range(1, 80)}}
    head = network.model[-1]
    pixels = torch.from_numpy(
        np.concatenate([letterbox(photo(size_wh), (SIDE, SIDE)).pixels_13hw for size_wh in PHOTOS_WH.values()])
    )
    with torch.no_grad():
        # Without statistics of their own, random layers answer the same everywhere in the picture.
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
        network.train()(pixels)
        for branch in head.cv3:
            torch.nn.init.normal_(branch[-1].weight, std=0.15)
            torch.nn.init.constant_(branch[-1].bias, -4.0)
        logits_BN = torch.logit(network.eval()(pixels)[0][0][:, 4])
        lowest = float(logits_BN.sort(dim=1, descending=True).values[:, PEOPLE].min())
        for branch in head.cv3:
            branch[-1].bias[0] -= 1.0 + lowest
        # Both heads get the same weights, so that exports with either must find the same people.
        for part, branches in head.named_children():
            if part.startswith("one2one_"):
                branches.load_state_dict(getattr(head, part.removeprefix("one2one_")).state_dict())
    torch.save({"model": network, "train_args": {"imgsz": SIDE}, "epoch": -1}, path)
    return path


def main(folder: Path) -> None:
    from ultralytics import YOLO

    photos = {name: photo(size_wh) for name, size_wh in PHOTOS_WH.items()}
    for name, rgb in photos.items():
        save(folder / "photos" / f"{name}.png", rgb)
    checkpoints = {name: build(name, folder / f"{name}.pt") for name in CHECKPOINTS}
    for name, (checkpoint, options) in EXPORTS.items():
        people = backend(InstanceSection(model=str(checkpoints[checkpoint]), device="cpu"))
        written = YOLO(str(checkpoints[checkpoint])).export(
            format="onnx", imgsz=SIDE, simplify=False, verbose=False, **options
        )
        reader = YOLO(str(Path(written).rename(folder / f"{name}.onnx")), task="segment")
        for photo_name, rgb in photos.items():
            bgr = np.ascontiguousarray(rgb[..., ::-1])
            result = reader.predict(bgr, imgsz=SIDE, retina_masks=True, classes=[0], conf=0.25, verbose=False)[0]
            np.savez(
                folder / f"{name}-{photo_name}.npz",
                masks_NHW=result.masks.data.numpy() > 0,
                scores_N=result.boxes.conf.numpy(),
                anybody_HW=np.any([person.mask_HW for person in people.people(rgb)], axis=0),
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
