"""Put the comma-separated tags of captions in other orders, as sd-scripts' ``shuffle_caption`` does."""

from __future__ import annotations

import random
from collections import Counter

from blissmask.config.sections.dataset_section import PLACEHOLDER, DatasetSection, GeneralSection
from blissmask.dataset.captions.caption_words import zoom_template


def other_orders(section: GeneralSection) -> range:
    """Return the numbers of the orders in which a data set's captions are cached besides the written one, from 1.

    A caption whose tags have fewer orders has fewer.
    """
    return range(1, section.caption_orders or 1) if section.shuffle_caption else range(0)


def orders_of(caption: str, section: DatasetSection, *, zoom: str = "") -> range:
    """Return the numbers of the orders in which a caption is cached besides the written one: as many as it has.

    Args:
        caption: of the photo or video; of a zoom that of its photo.
        section: the data set.
        zoom: of which kind a zoom is, empty for none; its template holds the caption, or has no place for it.
    """
    most = 1 + len(other_orders(section))
    if zoom and "caption" not in PLACEHOLDER.findall(zoom_template(section, zoom)):
        most = 1
    return range(1, order_count(caption, keep_tokens=section.keep_tokens, most=most))


def tag_orders(caption: str, *, keep_tokens: int, count: int, seed: str) -> list[str]:
    """Return a caption as it is written, and with its comma-separated tags in other orders.

    sd-scripts draws a new order at every step. Embeddings are cached here, so each item has up to ``count`` orders, and
    a step draws one of them. No two are the same, and more orders begin with the same.

    Args:
        caption: tags separated by commas; those that are empty stay in the written order alone.
        keep_tokens: number of tags at the front that stay where they are.
        count: number of orders, >= 1; fewer where the tags have no more.
        seed: any text that names the item: other items have other orders, and a second run has the same ones.
    """
    kept, rest = _kept_and_shuffled(caption, keep_tokens)
    drawing = random.Random(seed.encode("utf-8", "surrogateescape"))
    orders = [caption]
    seen = {tuple(rest)}
    for _ in range(1, order_count(caption, keep_tokens=keep_tokens, most=count)):
        while tuple(rest) in seen:
            drawing.shuffle(rest)
        seen.add(tuple(rest))
        orders.append(", ".join([*kept, *rest]))
    return orders


def order_count(caption: str, *, keep_tokens: int, most: int) -> int:
    """Return in how many different orders the tags of a caption can stand, up to ``most``, the written one included."""
    _, shuffled = _kept_and_shuffled(caption, keep_tokens)
    # A product of binomials, each of which is the ways to put a tag among those before it; it never falls.
    count, placed = 1, 0
    for repeated in Counter(shuffled).values():
        for number in range(1, repeated + 1):
            placed += 1
            count = count * placed // number
        if count >= most:
            return most
    return count


def _kept_and_shuffled(caption: str, keep_tokens: int) -> tuple[list[str], list[str]]:
    tags = [tag.strip() for tag in caption.split(",") if tag.strip()]
    return tags[:keep_tokens], tags[keep_tokens:]
