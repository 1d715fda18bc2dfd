"""Previews on the page of a training: a row for each prompt, a column for each time of drawing.

Small copies are part of the page, so that it still shows them when it is moved alone; each links to its file.
"""

from __future__ import annotations

import functools
import html
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from blissmask.errors import InputError
from blissmask.media.image import read_image
from blissmask.media.overlay import fit_size, shrink
from blissmask.media.sheets.card import pack_photo
from blissmask.media.video import read_frames, read_info
from blissmask.storage.seen import State, input_state

_LABEL = re.compile(r"(?P<label>e?\d{6})_(?P<number>\d{2,})_\d+\.(?:png|mp4)")
"""The end of a preview's name: step or epoch, prompt, seed."""
_BASE = "000000"
_SIDES = (512, 384, 256, 192)
"""Longer sides of the copies, the first that fits; two pixels per point of what is seen, which is 14 rem wide."""
_MOST_PIXELS = 24_000_000
"""Of all copies together. As text in the page, measured with the photos in tests/photos: 120 previews are 2.4 MB, and
as many as are shown at most, which are small and sharp, 5 MB."""
_MOST_COPIES = _MOST_PIXELS // _SIDES[-1] ** 2
"""Copies on a page; the previews behind them are links alone."""
_KEPT = 2 * _MOST_COPIES
"""Copies that are kept until the page is drawn again, each up to 30 kB: with those of one page alone, each new preview
would push out the next one that is wanted."""

Drawn = Mapping[str, Mapping[int, Path]]
"""Label -> number of the prompt -> file."""


def previews_grid(
    folder: Path, run_name: str, prompts: Sequence[str], *, step_after: Callable[[int], int]
) -> Iterator[str]:
    """Yield the grid; nothing where no preview was drawn.

    Args:
        folder: of the previews, ``sample`` beside the page.
        run_name: what their names begin with.
        prompts: of the rows.
        step_after: returns the step that completes so many epochs; names of previews have either, and columns stand in
            the order of the training.
    """
    found = _drawn(folder, f"{run_name}_")
    steps = {label: step_after(int(label[1:])) if label.startswith("e") else int(label) for label in found}
    drawn = {label: found[label] for label in sorted(found, key=steps.__getitem__)}
    shown = _shown(drawn, len(prompts))
    if not shown:
        return
    count = sum(number in files for files in shown.values() for number in range(len(prompts)))
    side, left = _side_for(count), _MOST_COPIES
    if count > left:
        yield f"<p>{left} of {count} previews; the others are links to their files.</p>"
    if len(shown) < len(drawn):
        yield f"<p>{len(shown)} of {len(drawn)} drawings, evenly spaced; the others are in <code>sample</code>.</p>"
    heads = "".join(f"<th>{_when(label)}</th>" for label in shown)
    yield f"<div class='scroll previews'><table><tr><th>prompt</th>{heads}</tr>"
    for number, prompt in enumerate(prompts):
        cells = []
        for label, files in shown.items():
            path = files.get(number)
            cells.append(_cell(path, f"{prompt}, {_when(label)}", side if left > 0 else None))
            left -= path is not None
        yield f"<tr><th>{html.escape(prompt)}</th>{''.join(cells)}</tr>"
    yield "</table></div>"


def _drawn(folder: Path, begin: str) -> Drawn:
    drawn: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        match = _LABEL.fullmatch(path.name.removeprefix(begin)) if path.name.startswith(begin) else None
        if match:
            drawn.setdefault(match["label"], {})[int(match["number"])] = path
    return drawn


def _shown(drawn: Drawn, rows: int) -> Drawn:
    """Return as many columns as the smallest copies leave room for: the first, the last, and evenly between them."""
    most = max(2, _MOST_COPIES // max(1, rows))
    labels = list(drawn)
    if len(labels) > most:
        labels = [labels[round(at * (len(labels) - 1) / (most - 1))] for at in range(most)]
    return {label: drawn[label] for label in labels}


def _side_for(count: int) -> int:
    return next((side for side in _SIDES if side**2 * count <= _MOST_PIXELS), _SIDES[-1])


def _when(label: str) -> str:
    if label == _BASE:
        return "base model"
    return f"epoch {int(label[1:])}" if label.startswith("e") else f"step {int(label)}"


def _cell(path: Path | None, about: str, side: int | None) -> str:
    """Return the cell of a preview: a copy with this longer side, or its link alone."""
    if path is None:
        return "<td></td>"
    link, text = html.escape(f"sample/{quote(path.name)}"), html.escape(about)
    if side is None:
        return f'<td><a href="{link}">{html.escape(path.name)}</a></td>'
    try:
        copy = b64encode(_copy(path, side, input_state(path))).decode("ascii")
    except (InputError, OSError):
        # One damaged picture costs its own place alone.
        return f'<td><a href="{link}">{html.escape(path.name)}</a> cannot be read</td>'
    note = "<br>middle frame of a clip" if path.suffix == ".mp4" else ""
    return f'<td><a href="{link}"><img src="data:image/webp;base64,{copy}" alt="{text}"></a>{note}</td>'


@functools.lru_cache(maxsize=_KEPT)
def _copy(path: Path, side: int, state: State) -> bytes:
    """Return a small WebP copy of a picture, or of the middle frame of a clip; ``state`` is that of its file."""
    if path.suffix == ".mp4":
        (rgb_HW3,) = read_frames(path, [read_info(path, count=True).frame_count // 2])
    else:
        rgb_HW3 = read_image(path).rgb_HW3
    return pack_photo(shrink(rgb_HW3, fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (side, side)))).data
