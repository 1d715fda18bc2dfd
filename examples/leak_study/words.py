"""Captions of the toy world: four words, each a fixed random vector.

As in Wan, an absent word is zeros and there is no attention mask. B captions, L rows (who, coat, hair, place, and two
that are always empty), D their width.
"""

from __future__ import annotations

import torch
import world
from torch import Tensor

ROWS, WIDTH = 6, 32
WHO, COAT, HAIR, PLACE = range(4)

_generator = torch.Generator().manual_seed(5)
_TABLES = {
    WHO: torch.randn(world.LIBRARY_PEOPLE, WIDTH, generator=_generator),
    COAT: torch.randn(world.LIBRARY_COATS, WIDTH, generator=_generator),
    HAIR: torch.randn(world.LIBRARY_HAIR, WIDTH, generator=_generator),
    PLACE: torch.randn(world.LIBRARY_PLACES, WIDTH, generator=_generator),
}
TRIGGER = torch.randn(WIDTH, generator=_generator)
"""A word that the base model has never seen."""
OTHER_TRIGGER = torch.randn(WIDTH, generator=_generator)
"""Another one, for the second of two subjects."""


def captions(words: dict[int, Tensor], count: int) -> Tensor:
    """Return captions_BLD.

    Args:
        words: row -> numbers (B,) of library words, -1 for an absent word; missing rows have absent words.
        count: number of captions.
    """
    text_BLD = torch.zeros(count, ROWS, WIDTH)
    for row, numbers in words.items():
        text_BLD[:, row] = torch.where((numbers >= 0)[:, None], _TABLES[row][numbers.clamp(min=0)], torch.zeros(WIDTH))
    return text_BLD


def with_trigger(text_BLD: Tensor, trigger_D: Tensor = TRIGGER) -> Tensor:
    """Return the captions with a trigger as the name of the person."""
    named = text_BLD.clone()
    named[:, WHO] = trigger_D
    return named


def library_captions(
    scene: world.Scene, people: Tensor, generator: torch.Generator, *, dropped: float, unknown: float
) -> Tensor:
    """Return captions of library scenes with some missing and some unknown words, so that the model copes with both.

    Args:
        scene: the scenes.
        people: the person of each scene, -1 for people without a name.
        generator: source of the random numbers.
        dropped: share of coat, hair and place words that are missing.
        unknown: share of nameless people whose name is a random word, so that a new trigger starts as "anybody".
    """
    count = len(scene)

    def some(numbers: Tensor) -> Tensor:
        return numbers.masked_fill(torch.rand(count, generator=generator) < dropped, -1)

    text_BLD = captions(
        {WHO: people, COAT: some(scene.coats), HAIR: some(scene.hair), PLACE: some(scene.places)}, count
    )
    called = (people < 0) & (torch.rand(count, generator=generator) < unknown)
    text_BLD[called, WHO] = torch.randn(int(called.sum()), WIDTH, generator=generator)
    return text_BLD
