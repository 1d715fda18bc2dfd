"""Which programs read a LoRA file whole: derived from the names under which each of them looks for a family's layers.

A program that does not find a layer's name leaves the layer out, with a line in its log at most, and the LoRA does a
part of what it was trained for. Layers have the names that
:meth:`blissmask.families.protocol.Denoiser.original_name` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


def whole_layer(original: str) -> str:
    """Return the name of a layer; for a part of a fused layer, the name of the fused layer."""
    return original.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way in which a program looks for layers.

    Attributes:
        prefix: what stands before a name, e.g. ``lora_unet_``.
        name: takes the original name of a layer or part, returns the program's own.
        joined: whether the dots of a name are underscores.
    """

    prefix: str
    name: Callable[[str], str] = whole_layer
    joined: bool = False

    def key(self, original: str) -> str:
        """Return what the program looks for."""
        name = self.name(original)
        return f"{self.prefix}{name.replace('.', '_') if self.joined else name}"


@dataclass(frozen=True, slots=True)
class LoraReader:
    """A program, and the ways in which it looks for layers.

    Attributes:
        program: as its users call it.
        spellings: all of them; one is enough for a layer.
    """

    program: str
    spellings: tuple[Spelling, ...]

    def unread(self, layers: Iterable[str], originals: Iterable[str]) -> list[str]:
        """Return the layers of a file that the program does not find.

        Args:
            layers: keys of the file up to the layer, e.g. ``lora_unet_blocks_0_self_attn_q``.
            originals: the original names of all layers that the family has.
        """
        known = {spelling.key(original) for original in originals for spelling in self.spellings}
        return [layer for layer in layers if layer not in known]


def comfyui(name: Callable[[str], str] = whole_layer, *more: Spelling) -> LoraReader:
    """Return ComfyUI (0.33), which looks for its own names of layers, and for more in some families.

    Args:
        name: takes an original name, returns ComfyUI's.
        more: the family's other spellings.
    """
    own = (Spelling("diffusion_model.", name), Spelling("lora_unet_", name, joined=True))
    return LoraReader("ComfyUI", (*own, *more))


def musubi_tuner(name: Callable[[str], str] = whole_layer) -> LoraReader:
    """Return musubi-tuner (0.3.4), which looks for its own names of layers.

    Args:
        name: takes an original name, returns musubi-tuner's.
    """
    return LoraReader("musubi-tuner", (Spelling("lora_unet_", name, joined=True),))


@dataclass(frozen=True, slots=True)
class PartReader:
    """A program that would use some layers of a file and leave out the others, without a word to its user.

    Attributes:
        program: as its users call it.
        used, layers: how many layers it would use, of how many.
        missed: a key that it does not find.
        whole_in: spellings in which it would use all layers.
        whole_as_lora: whether it would, were LoKr and LoHa a LoRA.
    """

    program: str
    used: int
    layers: int
    missed: str
    whole_in: tuple[str, ...]
    whole_as_lora: bool

    def describe(self, file: str) -> str:
        """Return how much of ``file`` the program would use."""
        return f"{self.program} would use {self.used} of the {self.layers} layers of {file}"


def part_readers(
    readers: Sequence[LoraReader],
    wanted: str,
    spelled: Mapping[str, Sequence[str]],
    originals: Collection[str],
    *,
    as_lora: Sequence[str] = (),
) -> list[PartReader]:
    """Return the programs that find some of the layers of a file, and not all.

    Args:
        readers: of the family.
        wanted: the spelling of the file.
        spelled: spelling -> keys of the file up to the layers, of all spellings that it can have.
        originals: the original names of all layers that the family has.
        as_lora: of LoKr and LoHa, the keys in that spelling if they were a LoRA.
    """
    found = []
    layers = spelled[wanted]
    for reader in readers:
        unread = reader.unread(layers, originals)
        if not unread or len(unread) == len(layers):
            continue
        whole_in = tuple(spelling for spelling, keys in spelled.items() if not reader.unread(keys, originals))
        whole_as_lora = bool(as_lora) and not reader.unread(as_lora, originals)
        used = len(layers) - len(unread)
        found.append(PartReader(reader.program, used, len(layers), unread[0], whole_in, whole_as_lora))
    return found
