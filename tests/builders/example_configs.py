"""The configurations of ``examples/`` with their models in miniature, and a folder that has what they name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.builders.pictures import random_rgb, save, tier_mask, write_video

EXAMPLES = Path(__file__).parents[2] / "examples"
STARTERS = Path(__file__).parents[2] / "blissmask" / "starters"
PHOTOS = EXAMPLES / "quickstart" / "photos"
_MODEL_FILES = re.compile(r"^(model|vae|text_encoder\w*|tokenizer\w*|image_encoder|dit\w*) = .*\n", re.MULTILINE)
_PREVIEWS = re.compile(r"^\[previews\]\n(.+\n)*", re.MULTILINE)


def miniature(name: str, *, previews: bool = False) -> str:
    """Return an example's configuration with its models in miniature, small pictures, a trigger, and two steps.

    Previews are left out unless they are asked for: the final LoRA would be drawn each time.
    """
    text = _MODEL_FILES.sub("", (STARTERS / name).read_text(encoding="utf-8"))
    text = re.sub(r"^(arch = .*)$", r'\1\nmodel = "tiny"', text, flags=re.MULTILINE)
    text = re.sub(r"^resolution = .*$", "resolution = [64, 64]", text, flags=re.MULTILINE)
    # Base models in miniature draw nothing to look at.
    text = re.sub(r"^(max_train_steps|sample_at_first) = .*\n", "", text, flags=re.MULTILINE)
    if not previews:
        text = _PREVIEWS.sub("", text)
    text = text.replace('trigger = ""', 'trigger = "Kyla"')
    return text.replace("[train]\n", "[train]\nmax_train_steps = 2\n")


def fill(folder: Path) -> None:
    """Write what the examples and the README name: photos, a clip, targets with controls, each with a caption; pictures of Kyla, and prompts."""
    (folder / "photos").mkdir()
    for name in ("eileen-close.jpg", "eileen-and-photographer.jpg"):
        shutil.copy(PHOTOS / name, folder / "photos")
        (folder / "photos" / name).with_suffix(".txt").write_text("Kyla")
    shutil.copy(PHOTOS.parent / "references" / "eileen.jpg", folder / "kyla.jpg")
    write_video(folder / "clips" / "clip001.mp4", [random_rgb((64, 64), seed=seed) for seed in range(40)], fps=30.0)
    (folder / "clips" / "clip001.txt").write_text("Kyla walks")
    (folder / "prompts.txt").write_text("Kyla in a garden --w 64 --h 64 --s 2\n")
    for kind in ("targets", "controls"):
        save(folder / kind / "one.png", random_rgb((64, 64)))
    (folder / "targets" / "one.txt").write_text("Kyla turns")


def fill_masks(folder: Path) -> None:
    """Write a mask for each photo and target, for examples that begin with masks at hand."""
    save(folder / "masks" / "one.png", tier_mask((64, 64)))
    for name, size_wh in (("eileen-close", (352, 440)), ("eileen-and-photographer", (960, 480))):
        save(folder / "masks" / f"{name}.png", tier_mask(size_wh))
