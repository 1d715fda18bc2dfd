"""InsightFace recognition (extra `insightface`), from a folder such as `buffalo_l`; its published weights are not for commercial use.

The package is MIT, the weights are not. Networks come from a folder that the user named; nothing is downloaded.
H, W: rows and columns; R = reference faces; D = 512, length of an embedding.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import InstanceSection
from blissmask.errors import InputError, MaskError, MissingPackageError, ModelError, Problem
from blissmask.licence import Licence
from blissmask.networks.device import find_device
from blissmask.networks.source import file_sha256
from blissmask.people.identity import Candidate, Reference, ReferenceFace, Thresholds, decide, face_owners, nearest
from blissmask.people.protocol import Choice, Person, Verdict

Box = tuple[float, float, float, float]

METHOD = 1
THRESHOLDS = Thresholds(max_distance=1.05, uncertain_band=0.08, min_margin=0.10)
"""Distances are Euclidean between embeddings of length 1, so 1.05 is a cosine of 0.45, which face tools commonly use with these weights."""

DETECTOR_SIDE = 640
MIN_WIDTH_PIXELS = 60
MIN_DETECTION = 0.5
LICENCE = Licence("InsightFace model licence", commercial=False, note="the packs are for research only; ask their authors for other use")


@dataclass(frozen=True, slots=True)
class ReadFace:
    """One face of a photo: where it is, its embedding of length 1, and whether it is large enough to be trusted."""

    box_xyxy: Box
    embedding_D: NDArray[np.float32]
    clear: bool


class InsightFaceReader:
    """Finds faces and turns them into embeddings; loaded at the first photo.

    Args:
        folder: ONNX files of one pack: a detector and a recogniser.
        device: name of the device; anything but a CUDA device is the CPU.
    """

    thread_safe = True

    def __init__(self, folder: Path, *, device: str) -> None:
        self._folder, self._device = folder, device
        self._app: Any = None
        self._turn = threading.Lock()
        files = sorted(folder.glob("*.onnx"))
        self.identity = f"insightface-{METHOD}-{folder.name}-sha256:{'+'.join(file_sha256(path)[:16] for path in files)}"

    def read(self, rgb_HW3: NDArray[np.uint8]) -> list[ReadFace]:
        """Return every face of a photo.

        Raises:
            ModelError: the folder holds no detector or no recogniser.
        """
        with self._turn:
            if self._app is None:
                self._app = _load(self._folder, self._device)
            faces = self._app.get(np.ascontiguousarray(rgb_HW3[..., ::-1]))
        return [_read_face(face) for face in faces]


class InsightFaceIdentity:
    """Recognises one subject.

    Args:
        reader: finds and embeds faces.
        references_RD: embeddings of the subject, at least one.
        negatives_RD: embeddings of people who are not the subject; may be empty.
        thresholds: how alike is alike enough; :data:`THRESHOLDS` when None.

    Raises:
        InputError: there is no reference.
    """

    thread_safe = True
    licence = LICENCE

    def __init__(
        self,
        reader: InsightFaceReader,
        references_RD: Sequence[NDArray[np.float32]],
        negatives_RD: Sequence[NDArray[np.float32]] = (),
        *,
        thresholds: Thresholds | None = None,
    ) -> None:
        if not len(references_RD):
            raise InputError("there is no reference photo of the subject", fix="name at least one photo that shows only the subject")
        self._reader = reader
        self._references = np.stack(list(references_RD))
        self._negatives = np.stack(list(negatives_RD)) if len(negatives_RD) else None
        self._thresholds = thresholds or THRESHOLDS
        self.identity = reader.identity

    def embed(self, rgb_HW3: NDArray[np.uint8]) -> list[tuple[Box, NDArray[np.float32]]]:
        """Return box and embedding of every face; safe to call from several threads."""
        return [(face.box_xyxy, face.embedding_D) for face in self._reader.read(rgb_HW3)]

    def choose(self, rgb_HW3: NDArray[np.uint8], people: Sequence[Person]) -> Choice:
        """Say which of ``people`` the subject is; safe to call from several threads.

        A subject whose face is seen but whose body no one outlined is uncertain, and ``person`` is None.
        """
        faces = self._reader.read(rgb_HW3)
        decision = decide([self._candidate(face) for face in faces], self._thresholds)
        if decision.face is None:
            return Choice(decision.verdict, None, decision.distance, decision.margin)
        person = face_owners([faces[decision.face].box_xyxy], people)[0]
        verdict = decision.verdict if person is not None else Verdict.UNCERTAIN
        return Choice(verdict, person, decision.distance, decision.margin)

    def _candidate(self, face: ReadFace) -> Candidate:
        negative = None if self._negatives is None else nearest(face.embedding_D, self._negatives)
        return Candidate(nearest(face.embedding_D, self._references), negative, face.clear)


def face_reader(options: InstanceSection) -> InsightFaceReader:
    """Return the reader of the folder that ``identity_model`` names.

    Raises:
        MissingPackageError: the package ``insightface`` is not installed.
        ModelError: no folder was named, or it holds no ONNX files.
    """
    if importlib.util.find_spec("insightface") is None:
        raise MissingPackageError(
            "`--identity insightface` needs the package `insightface`", fix="install it: `pip install 'blissmask[insightface]'`"
        )
    example = "--identity insightface --identity-model FOLDER"
    folder = options.identity_model
    if folder is None:
        raise ModelError("`insightface` needs its networks, and no folder was named", fix=f"unpack a pack such as `buffalo_l`: `{example}`")
    if not any(folder.expanduser().glob("*.onnx")):
        raise ModelError("the folder holds no `.onnx` files", where=[folder], fix=f"name an unpacked pack such as `buffalo_l`: `{example}`")
    return InsightFaceReader(folder.expanduser().resolve(), device=options.device)


def read_references(reader: InsightFaceReader, references: Iterable[Reference]) -> list[ReferenceFace]:
    """Embed the one face of each reference photo.

    Raises:
        MaskError: some photos do not hold exactly one face; names all of them.
    """
    known: list[ReferenceFace] = []
    problems: list[Problem] = []
    for reference in references:
        faces = reader.read(reference.rgb_HW3)
        if len(faces) == 1:
            known.append(ReferenceFace(reference.name, faces[0].embedding_D, faces[0].box_xyxy[2] - faces[0].box_xyxy[0]))
            continue
        what = f"{len(faces)} faces are in the reference photo; there must be exactly one" if faces else "no face is in the reference photo"
        fix = "crop it to the one person" if faces else "use a photo that shows the face from the front, 60 pixels wide or more"
        problems.append(Problem(what, (reference.name,), fix))
    if problems:
        raise MaskError.several(problems)
    return known


def _read_face(face: Any) -> ReadFace:
    left, top, right, bottom = (float(value) for value in face.bbox)
    clear = right - left >= MIN_WIDTH_PIXELS and float(face.det_score) >= MIN_DETECTION
    return ReadFace((left, top, right, bottom), np.asarray(face.normed_embedding, np.float32), clear)


def _load(folder: Path, device_name: str) -> Any:
    from insightface.app import FaceAnalysis

    device = find_device(device_name)
    cuda = device.type == "cuda"
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    try:
        # An absolute path is taken as it is; a mere name would be downloaded.
        app = FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"], providers=providers)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ModelError("the folder holds no face detector that InsightFace knows", where=[folder], fix="name an unpacked pack") from error
    if "recognition" not in app.models:
        raise ModelError("the folder holds no face recogniser", where=[folder], fix="name an unpacked pack such as `buffalo_l`")
    app.prepare(ctx_id=(device.index or 0) if cuda else -1, det_size=(DETECTOR_SIDE, DETECTOR_SIDE))
    return app
