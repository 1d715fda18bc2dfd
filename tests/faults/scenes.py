"""One small complete input for each subcommand, shared by all fault tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.builders import half_mask, mask_folder, photo_folder, save

PHOTOS = Path(__file__).parents[1] / "photos"
NAMES = ("one", "two", "three", "four")


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
    for name in NAMES[:2]:
        (folder / "photos").mkdir(exist_ok=True)
        shutil.copy(PHOTOS / "astronaut.png", folder / "photos" / f"{name}.png")
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
        (folder / "photos" / f"{name}.txt").write_text(f"{name}, a person\n")
    arguments = ("to-alpha", "--image-directory", "photos", "--mask-directory", "masks", "--output-directory", "out")
    return Scene(arguments, ("photos", "masks"), "out")


def cache(folder: Path) -> Scene:
    to_alpha(folder)
    arguments = (
        *("cache", "--arch", "wan21", "--model", "tiny", "--resolution", "128", "--caption-extension", ".txt"),
        *("--image-directory", "photos", "--mask-directory", "masks", "--cache-directory", "out"),
    )
    return Scene(arguments, ("photos", "masks"), "out")


SCENES: dict[str, Callable[[Path], Scene]] = {"masks": masks, "instance": instance, "apply": apply, "to-alpha": to_alpha, "cache": cache}
