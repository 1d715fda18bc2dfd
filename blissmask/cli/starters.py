"""Print a configuration to start from: one of the files in ``blissmask/starters``, fitted to the photos that are here.

They are complete configurations; what only the user knows is marked with ``FILL IN``.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

from blissmask.documents import parse_toml
from blissmask.errors import UsageError
from blissmask.plurals import counted
from blissmask.storage.ordinary import read_text
from blissmask.ui import problems
from blissmask.ui.console import out

_FOLDER = Path(__file__).parents[1] / "starters"
BLANK = "FILL IN"
"""Marks a line whose value only the user knows."""
_PASSES = 80
"""How often a photo is shown: 1600 steps for the 20 photos that the default of `max_train_steps` is for.

A trainer's guide to LoRAs of people gives 80 too, and 30 to 120 as the range ("Understanding Dreambooth LoRA
Fine-tuning Parameters", Segmind).
"""
_FEWEST, _MOST = 500, 4000
"""Steps; the range that ai-toolkit's example configurations call good."""
_ROUND_TO = 100
"""The number of steps is rounded to hundreds: the figures above are no more exact."""


def names() -> dict[str, str]:
    """Return the names of the starters, in alphabetical order, each with its first line."""
    return {path.stem: read_text(path).partition("\n")[0].removeprefix("# ") for path in sorted(_FOLDER.glob("*.toml"))}


def show_starter(name: str, photos: Path | None) -> None:
    """Print a starter on stdout, and on stderr what is left to do.

    Args:
        name: of a starter.
        photos: the folder of the photos, or of the clips; the starter's own where it is here when not given.

    Raises:
        UsageError: there is no such starter.
        InputError: ``photos`` cannot be read.
    """
    # Here, since the list of commands names the starters: reading the configuration takes as long as the rest of it.
    from blissmask.config.config_file import DEFAULT_NAME

    text, count = starter(name, photos)
    out().print(text, end="")
    blanks = sum(BLANK in line for line in text.splitlines())
    found = "" if count is None else f"the steps are for the {counted(count, 'file')} found. "
    problems.show_hint(
        f"{found}In {DEFAULT_NAME}, fill in the {blanks} lines marked {BLANK}; then run the commands at its head"
    )


def starter(name: str, photos: Path | None) -> tuple[str, int | None]:
    """Return the text of a starter and the number of photos or clips that its steps were fitted to; None for none."""
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean `{near[0]}`?" if near else ""
        raise UsageError(f"unknown starter `{name}`; there are {', '.join(known)}", fix=fix)
    text = read_text(_FOLDER / f"{name}.toml")
    # The file is read where it is called by its default name, without a flag.
    text = text.replace(f" --config {name}.toml", "")
    folder, is_video = _media_folder(text)
    if photos is not None:
        text = text.replace(json.dumps(folder), json.dumps(str(photos), ensure_ascii=False))
    elif not Path(folder).is_dir():
        return text, None
    count = _count(photos or Path(folder), is_video=is_video)
    return (fitted(text, count), count) if count else (text, None)


def fitted(text: str, count: int) -> str:
    """Return a starter with its steps, and the steps between two files, for ``count`` photos."""
    steps = min(max(round(count * _PASSES / _ROUND_TO) * _ROUND_TO, _FEWEST), _MOST)
    if 'expert = "both"' in text:
        # Each expert gets about half of them.
        steps *= 2
    note = f"for {counted(count, 'photo')}"
    text = re.sub(r"^max_train_steps = \d+$", f"max_train_steps = {steps:<21}# {note}", text, flags=re.MULTILINE)
    # With each file that is saved, previews are drawn.
    return re.sub(r"^(save|sample)_every_n_steps = \d+", rf"\1_every_n_steps = {steps // 4}", text, flags=re.MULTILINE)


def _media_folder(text: str) -> tuple[str, bool]:
    """Return the folder of photos or clips that a starter begins with, and whether it holds clips."""
    tables = parse_toml(text)
    dataset = tables["datasets"][0]
    begins = tables.get("to_alpha", dataset)
    if "video_directory" in dataset:
        return dataset["video_directory"], True
    return begins["image_directory"], False


def _count(folder: Path, *, is_video: bool) -> int:
    from blissmask.dataset.discover import find_media

    return len(find_media(folder, images=not is_video, videos=is_video))
