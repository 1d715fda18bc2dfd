"""Draw the study's figures: `python examples/leak_study/figures.py [FOLDER [TO]]`."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import table
import torch
import world
from arms import ARMS, TIER_TABLE, Draw
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from blissmask.cachefile.read_file import read_tensors
from blissmask.masks.tiers import WeightTier
from blissmask.masks.weights import to_loss_weight

INK, FAINT, PAPER = (40, 44, 52), (222, 224, 228), (255, 255, 255)
COLOURS = {
    "base": (150, 150, 150),
    "unmasked": (200, 40, 40),
    "tiers": (30, 100, 200),
    "tiers-floor05": (90, 160, 230),
    "tiers-floor10": (150, 200, 245),
    "binary": (40, 150, 60),
    "face": (190, 120, 30),
    "tiers-prior": (120, 40, 160),
    "face-prior": (225, 70, 150),
    "tiers-free": (0, 140, 140),
    "tiers-prior-free": (0, 90, 90),
    "tiers-continuous": (170, 110, 210),
    "tiers-prior-ema": (90, 30, 110),
}
"""The arms that figures show, in order."""
_DENSE = 2
"""Everything is drawn this many times larger and then shrunk, for smooth lines."""
PLACES = ("sky", "rows", "columns", "check", "diagonals", "dots", "horizon", "glow")
"""Names of the library's places, in their order."""
COUNTS = {"swap": 8, "bare": 3, "other": 4, "anybody": 4}
"""Pictures of each kind in a row of :func:`draw_samples`, where the runs have drawn them."""
HEADINGS = {
    "swap": "trigger + another place + another coat",
    "bare": "trigger alone",
    "other": "other people, no trigger",
    "anybody": "anybody, no trigger",
}

Box = tuple[float, float, float, float]
Runs = dict[tuple[str, str], list[table.Numbers]]


class Sheet:
    """A white sheet to draw on, in final pixels.

    Args:
        width, height: of the finished picture.
    """

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * _DENSE, height * _DENSE), PAPER)
        self._pen = ImageDraw.Draw(self._image)

    def text(
        self, x: float, y: float, text: str, *, size: int = 13, anchor: str = "lm", colour: tuple[int, int, int] = INK
    ) -> None:
        """Write text; the anchor is Pillow's, e.g. ``mm`` for the middle."""
        self._pen.text(
            (x * _DENSE, y * _DENSE), text, fill=colour, font=ImageFont.load_default(size * _DENSE), anchor=anchor
        )

    def line(self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: float = 1) -> None:
        """Draw a polyline."""
        self._pen.line(
            [(x * _DENSE, y * _DENSE) for x, y in points], fill=colour, width=round(width * _DENSE), joint="curve"
        )

    def dot(self, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
        """Draw a disc with a white rim."""
        box = [(x - radius) * _DENSE, (y - radius) * _DENSE, (x + radius) * _DENSE, (y + radius) * _DENSE]
        self._pen.ellipse(box, fill=colour, outline=PAPER, width=_DENSE)

    def bar(self, box: Box, colour: tuple[int, int, int]) -> None:
        """Fill a rectangle (left, top, right, bottom)."""
        self._pen.rectangle([edge * _DENSE for edge in box], fill=colour)

    def picture(self, x: float, y: float, rgb_3HW: Tensor, *, zoom: int) -> None:
        """Paste a uint8 picture, every pixel ``zoom`` pixels wide."""
        tile = Image.fromarray(rgb_3HW.movedim(0, -1).contiguous().numpy())
        size = zoom * world.SIDE * _DENSE
        self._image.paste(tile.resize((size, size), Image.Resampling.NEAREST), (round(x * _DENSE), round(y * _DENSE)))

    def save(self, path: Path) -> None:
        """Write a PNG of at most 256 colours."""
        width, height = self._image.size
        final = self._image.resize((width // _DENSE, height // _DENSE), Image.Resampling.BOX)
        path.parent.mkdir(parents=True, exist_ok=True)
        final.quantize(256).save(path, optimize=True)


class Axes:
    """A plotting area on a sheet.

    Args:
        sheet: the sheet to draw on.
        box: left, top, right, bottom.
        x_max, y_max: ends of the axes; both start at 0.
    """

    def __init__(self, sheet: Sheet, box: Box, *, x_max: float, y_max: float) -> None:
        self._sheet, self._box, self._max = sheet, box, (x_max, y_max)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point on the sheet."""
        left, top, right, bottom = self._box
        return left + x / self._max[0] * (right - left), bottom - y / self._max[1] * (bottom - top)

    def frame(
        self,
        *,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        show: Callable[[float], str],
        show_y: Callable[[float], str],
    ) -> None:
        """Draw grid lines and numbers."""
        left, _, right, bottom = self._box
        for tick in y_ticks:
            _, y = self.at(0, tick)
            self._sheet.line([(left, y), (right, y)], FAINT)
            self._sheet.text(left - 6, y, show_y(tick), size=11, anchor="rm")
        for tick in x_ticks:
            x, _ = self.at(tick, 0)
            self._sheet.text(x, bottom + 12, show(tick), size=11, anchor="mm")


def draw_all(out: Path, to: Path) -> None:
    """Draw every figure that the finished runs allow."""
    runs = table.load(out)
    draw_samples(out, runs, to / "samples.png")
    draw_bars(runs, to / "bars.png")
    unmasked = runs.get(("cells", "unmasked"), [])
    if unmasked and unmasked[0]["curve"]:
        draw_tradeoff(runs, to / "tradeoff.png")
    draw_floor(to / "floor.png")


def draw_samples(out: Path, runs: Runs, path: Path, *, draw: int = 0) -> None:
    """Draw a row for each arm: its pictures, with the same noise for all arms, then a training photo and its mask."""
    arms = [arm for arm in COLOURS if any(run["draw"] == draw for run in runs.get(("cells", arm), []))]
    samples = {arm: read_tensors(out / "runs" / f"cells_{arm}_{draw}.safetensors") for arm in arms}
    counts = {kind: count for kind, count in COUNTS.items() if all(kind in drawn for drawn in samples.values())}
    zoom, tile, label, head = 2, 2 * world.SIDE + 3, 150, 46
    gap = 12
    sheet = Sheet(label + sum(counts.values()) * tile + gap * (len(counts) + 1) + 2 * tile, head + len(arms) * tile)
    photos = _photos(Draw(draw), len(arms))
    left = label
    for kind, count in counts.items():
        sheet.text(left, 14, HEADINGS[kind], size=13)
        for row, arm in enumerate(arms):
            for column, rgb_3HW in enumerate(samples[arm][kind][:count]):
                sheet.picture(left + column * tile, head + row * tile, rgb_3HW, zoom=zoom)
        left += count * tile + gap
    sheet.text(left, 14, "trained on", size=13)
    sheet.text(left + tile + gap, 14, "its mask", size=13)
    for row, (rgb_3HW, mask_3HW) in enumerate(photos):
        sheet.picture(left, head + row * tile, rgb_3HW, zoom=zoom)
        sheet.picture(left + tile + gap, head + row * tile, mask_3HW, zoom=zoom)
    for column, place in enumerate(PLACES):
        sheet.text(label + column * tile + tile / 2, 34, place, size=11, anchor="mm")
    for row, arm in enumerate(arms):
        sheet.text(label - 8, head + (row + 0.5) * tile, ARMS[arm].text, size=12, anchor="rm")
    sheet.save(path)


def draw_bars(runs: Runs, path: Path) -> None:
    """Draw the main measures as bars, one dot per run."""
    arms = [arm for arm in COLOURS if ("cells", arm) in runs]
    panels = [
        table.Column("training room, other place asked", ("final", "swap", "copied")),
        table.Column("subject's colours in the place", ("final", "swap", "flooded")),
        table.Column("asked place recognised", ("final", "swap", "asked_place")),
        table.Column("clothes leak", ("final", "swap", "clothes_leak")),
        table.Column("face error", ("final", "swap", "face_error"), percent=False),
        table.Column("drift on other people", ("final", "held_out", "drift"), percent=False),
    ]
    width, height, label, row = 268, 36, 128, 24
    sheet = Sheet(label + 3 * width + 12, 2 * (height + row * len(arms) + 34))
    for number, panel in enumerate(panels):
        values = {arm: [panel.value(run) for run in runs["cells", arm]] for arm in arms}
        highest = 1.0
        if not panel.percent:
            # An error or a drift has no natural end: the axis ends at the largest value, or at 1 when all are 0.
            highest = max(max(found) for found in values.values()) or 1.0
        left, top = label + (number % 3) * width, (number // 3) * (height + row * len(arms) + 34) + height
        axes = Axes(sheet, (left, top, left + width - 30, top + row * len(arms)), x_max=highest, y_max=1)
        sheet.text(left, top - 16, panel.title)
        for position, arm in enumerate(arms):
            y = top + (position + 0.5) * row
            if number % 3 == 0:
                sheet.text(left - 8, y, ARMS[arm].text, size=12, anchor="rm")
            mean_x, _ = axes.at(statistics.mean(values[arm]), 0)
            sheet.bar((left, y - 8, mean_x, y + 8), _half_as_dark(COLOURS[arm]))
            for value in values[arm]:
                sheet.dot(axes.at(value, 0)[0], y, 3.5, COLOURS[arm])
        bottom = top + row * len(arms)
        for tick in (0.0, highest / 2, highest):
            x, _ = axes.at(tick, 0)
            sheet.line([(x, bottom), (x, bottom + 4)], INK)
            sheet.text(x, bottom + 13, f"{tick:.0%}" if panel.percent else f"{tick:.2f}", size=11, anchor="mm")
        sheet.line([(left, top), (left, bottom), (left + width - 30, bottom)], INK)
    sheet.save(path)


def draw_tradeoff(runs: Runs, path: Path) -> None:
    """Draw the face error against the leak of the training photos over the steps, as means over the runs.

    Later steps have larger dots.
    """
    arms = [arm for arm in COLOURS if ("cells", arm) in runs and ARMS[arm].trains]
    paths = {arm: _over_steps(runs["cells", arm]) for arm in arms}
    y_max = max(y for points in paths.values() for _, y in points) * 1.1
    sheet = Sheet(860, 460)
    axes = Axes(sheet, (60, 40, 640, 400), x_max=1.0, y_max=y_max)
    ticks = [tick / 5 for tick in range(6)]
    axes.frame(x_ticks=ticks, y_ticks=[tick * y_max for tick in ticks], show="{:.0%}".format, show_y="{:.2f}".format)
    sheet.text(60, 18, "face error")
    sheet.text(350, 435, "background pixels in the training room's or the subject's colours", anchor="mm")
    for position, (arm, points) in enumerate(paths.items()):
        placed = [axes.at(x, y) for x, y in points]
        sheet.line(placed, COLOURS[arm], 2)
        for size, (x, y) in enumerate(placed):
            sheet.dot(x, y, 3.5 + 2 * size, COLOURS[arm])
        sheet.dot(665, 60 + 24 * position, 6, COLOURS[arm])
        sheet.text(680, 60 + 24 * position, ARMS[arm].text)
    unmasked = runs["cells", "unmasked"][0]
    steps = [point["step"] for point in unmasked["curve"]] + [unmasked["steps"]]
    sheet.text(660, 72 + 24 * len(paths), f"dots: after {', '.join(map(str, steps))} steps", size=11)
    sheet.save(path)


def draw_floor(path: Path) -> None:
    """Draw the background's share of the loss weight against the floor, a line for each size of the subject.

    It shows a formula and needs no run.
    """
    covers = {0.05: (200, 40, 40), 0.1: (225, 120, 30), 0.2: (190, 160, 20), 0.4: (40, 150, 60), 0.6: (30, 100, 200)}
    floors = [step / 200 for step in range(41)]
    sheet = Sheet(720, 420)
    axes = Axes(sheet, (60, 40, 520, 360), x_max=0.2, y_max=1.0)
    ticks = [tick / 5 for tick in range(6)]
    axes.frame(x_ticks=[0, 0.05, 0.1, 0.15, 0.2], y_ticks=ticks, show="{:.2f}".format, show_y="{:.0%}".format)
    sheet.text(60, 18, "background's share of the loss weight")
    sheet.text(290, 395, "floor (mask_min_weight)", anchor="mm")
    for position, (cover, colour) in enumerate(covers.items()):
        points = [axes.at(floor, background_share(cover, floor)) for floor in floors]
        sheet.line(points, colour, 2)
        sheet.line([(540, 60 + 24 * position), (560, 60 + 24 * position)], colour, 3)
        sheet.text(568, 60 + 24 * position, f"subject covers {cover:.0%}")
    sheet.save(path)


def background_share(cover: float, floor: float) -> float:
    """Return the background's share of the summed loss weight.

    Args:
        cover: share of the photo that the subject covers.
        floor: ``mask_min_weight``.
    """
    # Shares of the subject's pixels in this world.
    parts = {WeightTier.FACE: 0.16, WeightTier.HAIR: 0.21, WeightTier.BODY: 0.63}
    subject = sum(
        share * to_loss_weight(TIER_TABLE.weight(tier), gamma=1.0, min_weight=floor) for tier, share in parts.items()
    )
    room = (1 - cover) * to_loss_weight(0.0, gamma=1.0, min_weight=floor)
    return room / (room + cover * subject)


def _over_steps(runs: Sequence[table.Numbers]) -> list[tuple[float, float]]:
    """Return (leak, face error) after each of the measured steps, as means over the runs."""
    points = []
    for number in range(len(runs[0]["curve"]) + 1):
        looks = [_looks(run)[number] for run in runs]
        leak = statistics.mean(look["copied"] + look["flooded"] for look in looks)
        points.append((leak, statistics.mean(look["face_error"] for look in looks)))
    return points


def _looks(run: table.Numbers) -> list[table.Numbers]:
    """Return the measures of a run on the way and at the end."""
    return [point["swap"] for point in run["curve"]] + [run["final"]["swap"]]


def _half_as_dark(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (255 - (255 - channel) // 2 for channel in colour)
    return red, green, blue


def _photos(draw: Draw, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return training photos and their masks as uint8."""
    pictures = world.draw(
        world.subject_scene(draw.subject, draw.room, count, torch.Generator().manual_seed(draw.number))
    )
    greys = torch.tensor(list(TIER_TABLE.as_dict().values()), dtype=torch.uint8)[pictures.tiers_BHW]
    rgb_B3HW = ((pictures.rgb_B3HW + 1) * 127.5).round().to(torch.uint8)
    return [(rgb_3HW, grey_HW.expand(3, -1, -1)) for rgb_3HW, grey_HW in zip(rgb_B3HW, greys, strict=True)]


def main() -> None:
    """Draw the figures of a folder."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=here / "work" / "full", help="a study's --out folder")
    parser.add_argument("to", type=Path, nargs="?", help="where the figures go (default: figures in that folder)")
    given = parser.parse_args()
    draw_all(given.folder, given.to or given.folder / "figures")


if __name__ == "__main__":
    main()
