"""Texts that an item is shown with besides its caption: whether the cache has them, and reading them.

These are its caption with the class word instead of the trigger, captions in other orders, and no caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from torch import Tensor

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.file_names import EMPTY, WRITTEN, TextKind, text_name
from blissmask.cachefile.metadata import CAPTION, KEEP_TOKENS, ORDER_OF, OURS, ZOOM
from blissmask.cachefile.read_entry import load_text
from blissmask.cachefile.read_file import read_metadata
from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_orders import orders_of, other_orders
from blissmask.dataset.captions.caption_words import class_words, without_trigger
from blissmask.dataset.item_keys import zoom_stem
from blissmask.errors import CacheError, ChangedError, Hint, Problem, UsageError
from blissmask.tasks.run.plan import places_of
from blissmask.training.data.cached_set import CachedSet
from blissmask.training.data.caption_draw import CaptionText, OtherTexts

_ENCODER = f"{OURS}text_encoder"


@dataclass(slots=True)
class _TextFaults:
    """Files of further texts that are missing in the cache, or stale, by what needs them.

    Attributes:
        class_words, orders, empty: the files.
        with_trigger: how many texts hold the trigger.
    """

    class_words: list[Path] = field(default_factory=list)
    orders: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    with_trigger: int = 0

    @property
    def problems(self) -> list[Problem]:
        fix = Hint("run `{command}`, which encodes these texts alone, or train with `--prepare`", "cache")
        kinds = [
            ("`trigger_free_weight` needs captions with the class word", self.class_words),
            ("`shuffle_caption` needs captions in other orders", self.orders),
            ("`caption_dropout_rate` needs the text without a caption", self.empty),
        ]
        what = ", and these are missing in the cache, or stale"
        return [Problem(f"{needs}{what}", places_of(stale), fix) for needs, stale in kinds if stale]


def check_texts(config: Config, sets: Sequence[CachedSet]) -> None:
    """Look whether the cache has the further texts that the configuration asks for, all of one encoder.

    Raises:
        UsageError: a data set has no trigger or class word, or no caption holds the trigger.
        CacheError: texts are missing or stale; the error names all of them.
    """
    faults, needs_class = _TextFaults(), bool(config.mask_loss.trigger_free_weight)
    for cached in sets:
        section = config.datasets[cached.number - 1]
        words = class_words(section, cached.number) if needs_class and not cached.prior_only else None
        if words is None and not other_orders(section) and not section.caption_dropout_rate:
            continue
        for header in cached.headers:
            _check_texts_of(header, section, words, faults)
    if faults.problems:
        raise CacheError.several(faults.problems)
    if needs_class and not faults.with_trigger:
        raise UsageError(
            "`trigger_free_weight` is set, and no caption holds the trigger",
            fix="write the trigger into the captions, or leave `trigger_free_weight` out",
        )


def _check_texts_of(
    header: CacheHeader, section: DatasetSection, words: Mapping[str, str] | None, faults: _TextFaults
) -> None:
    """Add to ``faults`` what one item lacks; ``words`` as in :func:`load_other_texts`."""
    written = read_metadata(header.text_path)
    encoder = written.get(_ENCODER, "")
    # By the number of its order; 0 is the caption as it was written.
    captions = {WRITTEN.order: written.get(CAPTION, "")}
    for number in _orders_of(header, section):
        wanted = {
            f"{OURS}{ORDER_OF}": captions[WRITTEN.order],
            f"{OURS}{KEEP_TOKENS}": str(section.keep_tokens),
            _ENCODER: encoder,
        }
        found = _metadata_of(header, TextKind(number))
        if _holds(found, wanted):
            captions[number] = found.get(CAPTION, "")
        else:
            faults.orders.append(header.text_path_of(TextKind(number)))
    if section.caption_dropout_rate and not _holds(_metadata_of(header, EMPTY), {CAPTION: "", _ENCODER: encoder}):
        faults.empty.append(header.text_path_of(EMPTY))
    if words is None:
        return
    for number, caption in captions.items():
        kind = TextKind(number, is_class=True)
        class_caption = without_trigger(caption, words)
        if class_caption is None:
            continue
        faults.with_trigger += 1
        if not _holds(_metadata_of(header, kind), {CAPTION: class_caption, _ENCODER: encoder}):
            faults.class_words.append(header.text_path_of(kind))


def _orders_of(header: CacheHeader, section: DatasetSection) -> range:
    """Return the numbers of the other orders of an item's caption."""
    orders = other_orders(section)
    if not orders:
        return orders
    zoom = header.metadata.get(f"{OURS}{ZOOM}", "")
    stem = header.stem.removesuffix(zoom_stem("", zoom)) if zoom else header.stem
    path = header.text_path.with_name(text_name(stem, header.cache_suffix))
    if not path.is_file():
        # All orders are then asked for, and `cache` brings what is missing.
        return orders
    caption = read_metadata(path).get(CAPTION, "")
    return orders_of(caption, section, zoom=zoom)


def _metadata_of(header: CacheHeader, kind: TextKind) -> Mapping[str, str] | None:
    """Return the metadata of one of an item's texts; None where it has no such file."""
    path = header.text_path_of(kind)
    return read_metadata(path) if path.is_file() else None


def _holds(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> TypeGuard[Mapping[str, str]]:
    """Return whether a file is there and says what it should; caches of other tools do not name an encoder."""
    return found is not None and all(found.get(key, "") == value for key, value in wanted.items())


def load_class_text(header: CacheHeader, kind: TextKind, words: Mapping[str, str] | None) -> dict[str, Tensor] | None:
    """Return a caption with the class word; None where it has no trigger, or there are no ``words`` for the two.

    The caption decides: a file may be left of an older one, which had the trigger.

    Raises:
        ChangedError: it is not the text of this caption any more.
        CacheError: a file is missing or damaged.
    """
    if words is None:
        return None
    caption = read_metadata(header.text_path_of(kind)).get(CAPTION, "")
    class_caption = without_trigger(caption, words)
    if class_caption is None:
        return None
    return _load(header, TextKind(kind.order, is_class=True), {CAPTION: class_caption})


def load_other_texts(
    header: CacheHeader, section: DatasetSection, words: Mapping[str, str] | None
) -> OtherTexts | None:
    """Return what an item may be shown with instead of its caption; None where its data set asks for nothing else.

    Args:
        header: of the item.
        section: its data set.
        words: each trigger and its class word; None where captions with the class word are not asked for.

    Raises:
        ChangedError, CacheError: as :func:`load_class_text`.
    """
    if not other_orders(section) and not section.caption_dropout_rate:
        return None
    texts = []
    wanted = {f"{OURS}{ORDER_OF}": read_metadata(header.text_path).get(CAPTION, "")}
    for number in _orders_of(header, section):
        kind = TextKind(number)
        texts.append(CaptionText(_load(header, kind, wanted), load_class_text(header, kind, words)))
    empty = CaptionText(_load(header, EMPTY, {CAPTION: ""})) if section.caption_dropout_rate else None
    return OtherTexts(tuple(texts), empty, section.caption_dropout_rate)


def _load(header: CacheHeader, kind: TextKind, wanted: Mapping[str, str]) -> dict[str, Tensor]:
    """Read one of an item's further texts, which the plan has looked at: ``cache`` may have written another since."""
    if not _holds(_metadata_of(header, kind), wanted):
        fix = Hint("run `{command}`, which encodes these texts alone, then the same command again", "cache")
        where = [header.text_path_of(kind)]
        raise ChangedError("the cached text changed since the run was planned", where=where, fix=fix)
    return load_text(header, kind)
