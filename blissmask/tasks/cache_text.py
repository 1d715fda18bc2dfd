"""Encode captions: equal ones once, the encoder loaded only when one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from blissmask.archs.protocol import EncodedText, TextEncoder
from blissmask.cachefile import fingerprint
from blissmask.cachefile.layout import OURS, text_metadata
from blissmask.cachefile.write import write_text
from blissmask.errors import BlissmaskError, MachineError
from blissmask.tasks.background import Background
from blissmask.tasks.cache_entry import TextEntry
from blissmask.tasks.cache_outcome import CacheRun
from blissmask.tasks.cache_recipe import TEXT_DTYPE, Model
from blissmask.tasks.cache_scan import seen_controls, text_labels
from blissmask.tasks.plan import RunContext
from blissmask.tasks.workers import work_through
from blissmask.training.device import find_device

_GROUP = 64
"""Captions given to the encoder at a time: enough to batch by length, few enough that a kill loses little."""


@dataclass(frozen=True, slots=True)
class _Caption:
    """One caption, and the text files that hold it; longest captions come last, so that groups have one length."""

    text: str
    entries: tuple[TextEntry, ...]


def encode_texts(entries: Sequence[TextEntry], model: Model, context: RunContext, run: CacheRun) -> None:
    """Encode the captions of ``entries`` and write their files.

    Raises:
        ModelError: the encoder cannot be loaded.
        MachineError, StoppedError: captions that are finished are kept.
    """
    if not entries:
        return
    captions = _group_equal(entries)
    source = iter(captions)
    groups = iter(lambda: tuple(islice(source, _GROUP)), ())
    encoder: TextEncoder | None = None
    device = find_device(model.device)
    total = -(-len(captions) // _GROUP)
    with Background() as background:
        # One job: the groups only pass through, for progress and the stop signal.
        for group, _ in work_through(
            groups, lambda group: len(group), context, phase="Encoding captions", total=total, name=lambda group: group[0].text[:60]
        ):
            if encoder is None:
                encoder = model.arch.load_text_encoder(model.files, device=device, dtype=getattr(torch, TEXT_DTYPE))
            try:
                encoded = encoder.encode([caption.text for caption in group])
            except MachineError:
                raise
            except BlissmaskError as error:
                for caption in group:
                    for entry in caption.entries:
                        run.failed(entry, error)
                continue
            background.submit(_write, group, encoded, run)


def _group_equal(entries: Sequence[TextEntry]) -> list[_Caption]:
    by_text: dict[str, list[TextEntry]] = {}
    for entry in entries:
        by_text.setdefault(entry.caption, []).append(entry)
    captions = (_Caption(text, tuple(sharing)) for text, sharing in by_text.items())
    return sorted(captions, key=lambda caption: (len(caption.text), caption.text))


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
    recipe = entry.recipe
    labels = {f"{OURS}{name}": value for name, value in text_labels(recipe).items()}
    metadata = {
        **text_metadata(recipe.model.arch.metadata_name, entry.caption),
        **labels,
        f"{OURS}controls_print": fingerprint.take(seen_controls(entry.item, recipe)),
    }
    write_text(entry.path, embedding.tensors, variable_length=embedding.variable_length, metadata=metadata)
