"""InsightFace (extra `insightface`) from a folder such as `buffalo_l`; not for commercial use.

The package is MIT, the weights are not. Networks come from a folder that the user named; nothing is downloaded.
H, W: rows and columns.
"""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.errors import MissingPackageError, ModelError, first_line
from blissmask.licence import Licence
from blissmask.networks.torch_device import find_device
from blissmask.people.faces.face_reader import Face, FaceReader, Thresholds
from blissmask.storage.content import file_sha256

METHOD = 1
"""Raised whenever the same photo would get other faces; part of the identity."""

THRESHOLDS = Thresholds(max_distance=1.05, uncertain_band=0.08, min_margin=0.10, unclear_tighter=0.10)
"""Between embeddings of length 1, 1.05 is a cosine of 0.45, which face tools commonly use with these weights.

The other three follow the built-in identity; they were not measured with these weights.
"""

DETECTOR_SIDE = 640
"""Side of the detector's picture, pixels; InsightFace's default."""

LICENCE = Licence(
    "InsightFace model licence",
    commercial=False,
    note="the packs are for research only; ask their authors for other use",
)
_EXAMPLE = "--identity insightface --identity-model FOLDER"
_INSTALL = "install it: `pip install 'blissmask[insightface]'`"


class InsightFaces:
    """The identity; its networks are loaded at the first photo.

    Args:
        folder: the ONNX files of one pack, with a detector and a recogniser.
        device: name of the device; InsightFace runs on the CPU unless it is a CUDA device.
    """

    licence = LICENCE
    thread_safe = True
    thresholds = THRESHOLDS

    def __init__(self, folder: Path, *, device: str) -> None:
        self._folder, self._device = folder, device
        self._app: Any = None
        self._turn = threading.Lock()
        files = sorted(folder.glob("*.onnx"))
        hashes = "+".join(file_sha256(path)[:16] for path in files)
        self.identity = f"insightface-{METHOD}-{folder.name}-sha256:{hashes}"

    def faces(self, rgb_HW3: NDArray[np.uint8]) -> list[Face]:
        """Return every face of a photo; safe to call from several threads.

        Raises:
            ModelError: the folder holds no detector or no recogniser.
        """
        with self._turn:
            if self._app is None:
                self._app = _load(self._folder, self._device)
            found = self._app.get(np.ascontiguousarray(rgb_HW3[..., ::-1]))
        return [_read(face) for face in found]


def face_reader(options: InstanceSection) -> FaceReader:
    """Return the identity from the folder that ``identity_model`` names.

    Raises:
        MissingPackageError: the package ``insightface`` is not installed.
        ModelError: no folder was named, or it holds no ONNX files.
    """
    if importlib.util.find_spec("insightface") is None:
        raise MissingPackageError("`--identity insightface` needs the package `insightface`", fix=_INSTALL)
    folder = options.identity_model
    if folder is None:
        fix = f"unpack a pack such as `buffalo_l`: `{_EXAMPLE}`"
        raise ModelError("`insightface` needs its networks, and no folder was named", fix=fix)
    if not any(folder.expanduser().glob("*.onnx")):
        fix = f"name an unpacked pack such as `buffalo_l`: `{_EXAMPLE}`"
        raise ModelError("the folder holds no `.onnx` files", where=[folder], fix=fix)
    return InsightFaces(folder.expanduser().resolve(), device=options.device)


def _read(face: Any) -> Face:
    left, top, right, bottom = (float(value) for value in face.bbox)
    return Face(
        box_xyxy=(left, top, right, bottom),
        embedding_D=np.asarray(face.normed_embedding, np.float32),
        width_pixels=right - left,
        confidence=float(face.det_score),
    )


def _load(folder: Path, device_name: str) -> Any:
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise MissingPackageError(f"`insightface` cannot be imported: {first_line(error)}", fix=_INSTALL) from error
    device = find_device(device_name)
    cuda = device.type == "cuda"
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    try:
        # InsightFace takes an absolute path as it is, and would download a pack for a mere name.
        app = FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"], providers=providers)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ModelError(
            "the folder holds no face detector that InsightFace knows", where=[folder], fix="name an unpacked pack"
        ) from error
    if "recognition" not in app.models:
        raise ModelError(
            "the folder holds no face recogniser", where=[folder], fix="name an unpacked pack such as `buffalo_l`"
        )
    app.prepare(ctx_id=(device.index or 0) if cuda else -1, det_size=(DETECTOR_SIDE, DETECTOR_SIDE))
    return app
