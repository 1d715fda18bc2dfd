"""One small complete input for each subcommand, and what became of it; shared by all fault tests."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.builders.families import PLAIN
from tests.builders.pictures import half_mask, mask_folder, photo_folder, save, tree
from tests.builders.training import FEWER_LAYERS, write_masked_set
from tests.faults.injected import Fault

ASTRONAUT = Path(__file__).parents[1] / "photos" / "astronaut.png"
NAMES = ("one", "two", "three", "four")
_ITEM = re.compile(rf"(?<![a-z])({'|'.join(NAMES)})(?![a-z])")


@dataclass(frozen=True)
class Scene:
    """A subcommand with its inputs in place.

    Attributes:
        arguments: what follows ``blissmask``, paths relative to the folder the scene was made in.
        inputs: folders and files that must never change.
        output: the folder that is written.
    """

    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str


def masks(folder: Path) -> Scene:
    (folder / "photos").mkdir()
    with Image.open(ASTRONAUT) as astronaut:
        # A small picture: the networks are not what is tested here.
        small = astronaut.crop((100, 0, 400, 300)).resize((160, 160))
    for name in NAMES[:2]:
        small.save(folder / "photos" / f"{name}.png")
    return Scene(("masks", "--input", "photos", "--output", "out"), ("photos",), "out")


def instance(folder: Path) -> Scene:
    scene = masks(folder)
    arguments = ("instance", "--input", "photos", "--output", "out", "--reference", "photos/one.png")
    return Scene(arguments, scene.inputs, "out")


def apply(folder: Path) -> Scene:
    mask_folder(folder / "masks", [f"{name}.png" for name in NAMES])
    for name in NAMES:
        save(folder / "subject" / f"{name}.png", half_mask())
    arguments = ("apply", "--weighted-masks", "masks", "--instance-masks", "subject", "--output", "out")
    return Scene(arguments, ("masks", "subject"), "out")


def to_alpha(folder: Path) -> Scene:
    photo_folder(folder / "photos", [f"{name}.png" for name in NAMES], size_wh=(480, 320))
    mask_folder(folder / "masks", [f"{name}.png" for name in NAMES], size_wh=(480, 320))
    for name in NAMES:
        # One caption for all: how many captions are encoded at a time shows in the last bit of their embeddings.
        (folder / "photos" / f"{name}.txt").write_text("a person\n")
    arguments = ("to-alpha", "--image-directory", "photos", "--mask-directory", "masks", "--output-directory", "out")
    return Scene(arguments, ("photos", "masks"), "out")


def cache(folder: Path) -> Scene:
    to_alpha(folder)
    arguments = (
        *("cache", "--arch", PLAIN, "--model", "tiny", "--resolution", "128", "--caption-extension", ".txt"),
        *("--image-directory", "photos", "--mask-directory", "masks", "--cache-directory", "out"),
    )
    return Scene(arguments, ("photos", "masks"), "out")


def train(folder: Path) -> Scene:
    write_masked_set(folder / "cache")
    # Fewer layers: a third of a training of two steps is to put a LoRA into all.
    patterns = json.dumps(FEWER_LAYERS["exclude_patterns"])
    (folder / "blissmask.toml").write_text(
        f'[lora]\nexclude_patterns = {patterns}\n\n[[datasets]]\ncache_directory = "cache"\n'
    )
    arguments = (
        *("train", "--arch", PLAIN, "--model", "tiny", "--output-dir", "out", "--use-mask-loss"),
        *("--max-train-steps", "4", "--save-every-n-steps", "2", "--network-dim", "2"),
    )
    return Scene(arguments, ("cache",), "out")


SCENES: dict[str, Callable[[Path], Scene]] = {
    "masks": masks,
    "instance": instance,
    "apply": apply,
    "to-alpha": to_alpha,
    "cache": cache,
    "train": train,
}


def alike(calls: Iterable[str], call: str) -> list[list[Fault]]:
    """Return ways to strike each ``call`` that a run of a scene makes, those together that are alike but for the item's name.

    Args:
        calls: the kinds of the calls of an undisturbed run; see :func:`tests.faults.injected.record`.
        call: one of :data:`tests.faults.injected.CALLS`.
    """
    found: dict[str, list[Fault]] = {}
    counted: Counter[str] = Counter()
    for kind in calls:
        if kind.startswith(f"{call} "):
            counted[kind] += 1
            found.setdefault(_ITEM.sub("item", kind), []).append(Fault(call, counted[kind], kind=kind))
    return list(found.values())


def results(folder: Path) -> dict[str, bytes]:
    """Return the content of what a run is for, by relative path.

    Left out: TensorBoard's events, named after process and time, and what is drawn of the log, whose failing is a warning:
    the loss curve, and the page of the run, which says when it was drawn.
    """
    aside = ("logs/", "lora-loss.png", "lora.html")
    return {
        name: content for name, content in tree(folder).items() if not name.startswith(aside) and not _is_leftover(name)
    }


def leftovers(folder: Path) -> list[Path]:
    """Return what broken writes left behind."""
    return [path for path in folder.rglob("*") if _is_leftover(path.name)]


def _is_leftover(name: str) -> bool:
    return "-part" in name
