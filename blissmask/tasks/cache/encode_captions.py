"""Encode captions: equal ones once, the encoder loaded only when one is missing. H, W: rows and columns; 3 = RGB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blissmask.cachefile import fingerprint
from blissmask.cachefile.metadata import OURS, text_metadata
from blissmask.cachefile.write import write_text
from blissmask.errors import BlissmaskError, MachineError
from blissmask.families.protocol import EncodedText, TextEncoder
from blissmask.families.vae.pixels import signed_picture
from blissmask.media.image import read_image
from blissmask.processes import Processes
from blissmask.tasks.cache.cached_dataset import TEXT_DTYPE, Model, refuse_other_model
from blissmask.tasks.cache.planned_entries import TextEntry
from blissmask.tasks.cache.report import CacheRun
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.workers import Background, work_through
from blissmask.training.device import find_device

_GROUP = 64
"""Captions given to the encoder at a time: enough to batch by length, few enough that a kill loses little."""
_GROUP_WITH_PICTURES = 1
"""With control pictures, which are large, and of which a damaged one must cost its own item only."""


@dataclass(frozen=True, slots=True)
class _Caption:
    """One caption, the control pictures it is encoded with (mostly none), and the text files that hold it."""

    text: str
    controls: tuple[Path, ...]
    entries: tuple[TextEntry, ...]


def encode_texts(
    entries: Sequence[TextEntry], model: Model, context: RunContext, run: CacheRun, *, processes: Processes
) -> None:
    """Encode the captions of ``entries`` and write their files.

    Raises:
        ModelError: the encoder cannot be loaded.
        MachineError, StoppedError: captions that are finished are kept.
    """
    if not entries:
        return
    sees_controls = model.family.task.text_sees_controls
    size = _GROUP_WITH_PICTURES if sees_controls else _GROUP
    captions = processes.share(_group_equal(entries))
    groups = [captions[first : first + size] for first in range(0, len(captions), size)]
    encoder: TextEncoder | None = None
    device = find_device(model.device)
    with Background() as background:
        # Only control pictures are work for the threads; captions pass through, for progress and the stop signal.
        for group, controls in work_through(
            groups,
            _read_controls,
            context,
            phase="Encoding captions",
            total=len(groups),
            name=_beginning_of,
        ):
            if isinstance(controls, BlissmaskError):
                _fail(group, controls, run)
                continue
            if encoder is None:
                encoder = model.family.load_text_encoder(model.files, device=device, dtype=getattr(torch, TEXT_DTYPE))
                refuse_other_model(model.text_encoder, model.family.text_identity(model.files))
            try:
                encoded = encoder.encode([caption.text for caption in group], controls if sees_controls else None)
            except MachineError:
                raise
            except BlissmaskError as error:
                _fail(group, error, run)
                continue
            background.submit(_write, group, encoded, run)


def _beginning_of(group: Sequence[_Caption]) -> str:
    return group[0].text[:60]


def _group_equal(entries: Sequence[TextEntry]) -> list[_Caption]:
    """Return each caption once, shortest first, so that the captions of a group are of about one length."""
    sharing: dict[tuple[str, tuple[Path, ...]], list[TextEntry]] = {}
    for entry in entries:
        sharing.setdefault((entry.caption, entry.controls), []).append(entry)
    captions = (_Caption(text, controls, tuple(entries)) for (text, controls), entries in sharing.items())
    return sorted(captions, key=lambda caption: (len(caption.text), caption.text, caption.controls))


def _read_controls(group: Sequence[_Caption]) -> list[list[Tensor]]:
    """Return the control pictures of each caption as float32 image_3HW in [-1, 1], in their own size."""
    return [[signed_picture(read_image(path).rgb_HW3) for path in caption.controls] for caption in group]


def _fail(group: Sequence[_Caption], error: BlissmaskError, run: CacheRun) -> None:
    for caption in group:
        for entry in caption.entries:
            run.failed(entry, error)


def _write(group: Sequence[_Caption], encoded: Sequence[EncodedText], run: CacheRun) -> None:
    for caption, embedding in zip(group, encoded, strict=True):
        for entry in caption.entries:
            try:
                _write_one(entry, embedding)
            except MachineError:
                raise
            except BlissmaskError as error:
                run.failed(entry, error)


def _write_one(entry: TextEntry, embedding: EncodedText) -> None:
    labels = {f"{OURS}{name}": value for name, value in entry.labels.items()}
    metadata = {
        **text_metadata(entry.dataset.family.metadata_name, entry.caption),
        **labels,
        f"{OURS}controls_print": fingerprint.take(entry.controls),
    }
    write_text(
        entry.path,
        embedding.tensors,
        variable_length=embedding.variable_length,
        metadata=metadata,
        seen=entry.seen,
    )
