"""YOLO-seg, from Ultralytics' `.pt` files (extra `yolo`) or `.onnx` exports; AGPL-3.0.

The package ``ultralytics`` is needed for ``.pt`` files only. Exports run through onnxruntime on the CPU and are decoded
here (``yolo_export.py``), since Ultralytics is AGPL-3.0 and never a dependency. One photo at a time goes through the
network; other threads prepare theirs and outline their people meanwhile. H, W: rows and columns of the photo.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.config.sections.network import NetworkOptions
from blissmask.errors import MissingPackageError, ModelError, UsageError, first_line
from blissmask.licence import Licence
from blissmask.networks.torch_device import find_device, precision_note
from blissmask.networks.weights_path import model_file
from blissmask.people.outlines import Outline, separate
from blissmask.people.people_backend import PeopleBackend, Person
from blissmask.people.yolo_export import ExportFacts, find_candidates, letterbox, outline_candidates, read_facts
from blissmask.storage.content import file_sha256
from blissmask.vision.session import load_session

METHOD = 2
"""Raised whenever the same file would give other people; part of the identity."""

MIN_SCORE = 0.25
"""Smallest score of a person. Source: Ultralytics' default."""

WANTED = "a YOLO-seg file, e.g. `yolo26l-seg.pt`, or an ONNX export of one"
LICENCE = Licence(
    "AGPL-3.0",
    commercial=True,
    note="who serves or ships a product with it must publish the source, or buy a licence of Ultralytics",
)

_ULTRALYTICS_SETTINGS = {
    "ULTRALYTICS_SAFE_LOAD": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "false",
}
"""Environment variables that Ultralytics reads when it is imported.

It loads weights without running code of the pickle, installs no packages, sends no usage data, and does not print to
stdout, where our results go.
"""


class YoloPeople:
    """The instance backend.

    Args:
        path: a ``.pt`` or ``.onnx`` file.
        options: device and precision.
    """

    thread_safe = True
    licence = LICENCE

    def __init__(self, path: Path, options: NetworkOptions) -> None:
        self._path, self._options = path, options
        self._reader: _Export | _Checkpoint | None = None
        self._loading = threading.Lock()
        self.identity = f"yolo-{METHOD}-sha256:{file_sha256(path)}{precision_note(options)}"

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo, largest first; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used.
        """
        with self._loading:
            if self._reader is None:
                self._reader = _Export(self._path) if _is_export(self._path) else _Checkpoint(self._path, self._options)
        return separate(self._reader.outlines(rgb_HW3), (rgb_HW3.shape[1], rgb_HW3.shape[0]))


def backend(options: InstanceSection) -> PeopleBackend:
    """Return YOLO from the file that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no file was named, or it is missing.
        MissingPackageError: a ``.pt`` file without the package ``ultralytics``.
        UsageError: an export on a GPU.
    """
    path = model_file(options, backend="yolo", suffixes=(".pt", ".onnx"), wanted=WANTED)
    if _is_export(path):
        if options.device not in ("auto", "cpu"):
            raise UsageError(
                f"YOLO exports run on the CPU, not on `{options.device}`",
                where=[path],
                fix="name the `.pt` file it was made of",
            )
    elif importlib.util.find_spec("ultralytics") is None:
        raise MissingPackageError(
            "YOLO `.pt` files need the package `ultralytics` (AGPL-3.0)",
            where=[path],
            fix="install it: `pip install 'blissmask[yolo]'`\n"
            "or export the file where it is installed and name the `.onnx`",
        )
    return YoloPeople(path, options)


def _is_export(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


class _Export:
    """An ONNX export, run without Ultralytics."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._session = _open(path)
        self._input = self._session.get_inputs()[0]
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._facts: ExportFacts = read_facts(metadata, self._input.shape, path)

    def outlines(self, rgb_HW3: NDArray[np.uint8]) -> list[Outline]:
        photo = letterbox(rgb_HW3, self._facts.size_wh)
        precision = np.float16 if self._input.type == "tensor(float16)" else np.float32
        with self._turn:
            outputs = self._session.run(None, {self._input.name: photo.pixels_13hw.astype(precision, copy=False)})
        if len(outputs) != 2:
            raise ModelError(
                f"the export has {len(outputs)} outputs, a YOLO-seg export has 2",
                where=[self._path],
                fix="export a `-seg` model",
            )
        rows, prototypes = (output.astype(np.float32) for output in outputs)
        candidates = find_candidates(rows, self._facts, prototypes.shape[1], min_score=MIN_SCORE)
        return outline_candidates(candidates, prototypes[0], photo)


class _Checkpoint:
    """A ``.pt`` file, run by Ultralytics."""

    def __init__(self, path: Path, options: NetworkOptions) -> None:
        YOLO = _ultralytics_yolo()
        self._turn = threading.Lock()
        self._device = str(find_device(options.device))
        # Given only when wanted, since newer releases call the argument by another name and warn.
        self._precision = {"half": True} if options.precision == "float16" else {}
        try:
            self._model = YOLO(str(path), task="segment")
            names: dict[int, str] = self._model.names
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, ModuleNotFoundError) as error:
            raise ModelError(f"Ultralytics cannot read the file: {first_line(error)}", where=[path]) from error
        people = [number for number, name in names.items() if name.casefold() == "person"]
        if self._model.task != "segment" or not people:
            raise ModelError("the file does not outline people", where=[path], fix=f"name {WANTED}")
        self._person = people[0]

    def outlines(self, rgb_HW3: NDArray[np.uint8]) -> list[Outline]:
        # Ultralytics takes arrays as BGR; `retina_masks` returns masks of the photo's size, not the network's.
        bgr_HW3 = np.ascontiguousarray(rgb_HW3[..., ::-1])
        with self._turn:
            results = self._model.predict(
                bgr_HW3,
                classes=[self._person],
                conf=MIN_SCORE,
                retina_masks=True,
                device=self._device,
                verbose=False,
                save=False,
                **self._precision,
            )
        result: Any = results[0]
        if result.masks is None:
            return []
        masks = result.masks.data.cpu().numpy().astype(np.float32)
        scores = result.boxes.conf.cpu().tolist()
        return [
            Outline(float(score), left=0, top=0, probability_hw=mask) for score, mask in zip(scores, masks, strict=True)
        ]


def _ultralytics_yolo() -> Any:
    for name, value in _ULTRALYTICS_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        # Ultralytics imports torchvision only at the first photo, when masks may have been written already. A build of
        # torchvision that does not belong to the installed torch fails with a RuntimeError.
        import torchvision  # noqa: F401
        from ultralytics import YOLO
    except (ImportError, RuntimeError) as error:
        raise MissingPackageError(
            f"`ultralytics` cannot be imported: {first_line(error)}",
            fix="install `torch` and `torchvision` of one build, from one place\n"
            "or export the file and name the `.onnx`",
        ) from error
    return YOLO


def _open(path: Path) -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    try:
        return load_session(path, threads=0)
    except (
        failures.Fail,
        failures.InvalidProtobuf,
        failures.InvalidGraph,
        failures.InvalidArgument,
        failures.NotImplemented,
    ) as error:
        raise ModelError(f"the ONNX file cannot be loaded: {first_line(error)}", where=[path]) from error
