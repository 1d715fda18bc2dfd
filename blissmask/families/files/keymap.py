"""Translate module names between an original repository and diffusers, both ways from one table."""

from __future__ import annotations

import re
from collections.abc import Iterable

from blissmask.families.files.stored_tensors import Tensors


class KeyMap:
    """A bijection between original and diffusers names, written as pairs of dotted module paths.

    ``{}`` stands for a number and keeps its place. A pair covers the module and everything below it; the first pair
    that fits wins; a name that no pair covers is the same on both sides.

    Args:
        pairs: (original, diffusers), e.g. ``("blocks.{}.self_attn.q", "blocks.{}.attn1.to_q")``.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        table = tuple(pairs)
        self._forward = [(_pattern(original), diffusers) for original, diffusers in table]
        self._backward = [(_pattern(diffusers), original) for original, diffusers in table]

    def to_diffusers(self, name: str) -> str:
        """Return the diffusers name of an original module or parameter."""
        return _translate(name, self._forward)

    def to_original(self, name: str) -> str:
        """Return the original name of a diffusers module or parameter."""
        return _translate(name, self._backward)

    def rename(self, tensors: Tensors) -> Tensors:
        """Return ``tensors`` under their diffusers names; nothing is read."""
        return {self.to_diffusers(name): tensor for name, tensor in tensors.items()}


def below(original: str, diffusers: str, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return ``pairs`` of names inside a module, called ``original`` or ``diffusers``, as pairs of whole names."""
    return [(f"{original}.{theirs}", f"{diffusers}.{ours}") for theirs, ours in pairs]


def qkv_pairs(original: str, diffusers: str) -> list[tuple[str, str]]:
    """Return the pairs of query, key and value that the original keeps in one layer, whose parts are ``original:q``.

    ``*`` in ``diffusers`` stands for the letter, e.g. ``attn.to_*``.
    """
    return [(f"{original}:{part}", diffusers.replace("*", part)) for part in "qkv"]


def _pattern(path: str) -> re.Pattern[str]:
    numbered = re.escape(path).replace(r"\{\}", r"(\d+)")
    return re.compile(rf"{numbered}(?=\.|$)")


def _translate(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, target in rules:
        if found := pattern.match(name):
            return target.format(*found.groups()) + name[found.end() :]
    return name
