"""Line charts, looked at by their pixels."""

import re
import xml.etree.ElementTree

import numpy as np
import pytest

from blissmask.media import chart
from blissmask.media.chart import Line, Panel, draw_chart
from blissmask.media.chart_svg import svg_chart

BLUE, RED = (0, 92, 150), (204, 60, 120)


def line(values, colour=BLUE, **options):
    steps = np.arange(1, len(values) + 1, dtype=np.float64)
    return Line("loss", colour, (steps, np.array(values, dtype=np.float64)), **options)


def picture(*lines, height=200, **options):
    return draw_chart("kyla", "step 9", [Panel("Loss", lines, height, **options)], axis="step")


def places(rgb_HW3, colour):
    """Return rows and columns of the pixels of a colour inside the axes; legends stand above them."""
    rows, columns = np.nonzero((rgb_HW3 == np.array(colour, dtype=np.uint8)).all(axis=2))
    inside = rows > chart.HEADER + chart.TITLE
    return rows[inside], columns[inside]


def test_a_falling_line_falls_from_left_to_right():
    rows, columns = places(picture(line([4.0, 3.0, 2.0, 1.0], width=4.0)), BLUE)
    assert rows[columns < 300].mean() < rows[columns > 1000].mean() - 80
    assert columns.min() < 110
    assert columns.max() > 1150


def test_later_lines_lie_over_earlier_ones():
    rgb_HW3 = picture(line([1.0, 2.0], RED, width=3.0), line([1.0, 2.0], BLUE, width=5.0))
    assert len(places(rgb_HW3, RED)[0]) == 0
    assert len(places(rgb_HW3, BLUE)[0]) > 0


def test_a_single_outlier_of_a_noisy_line_does_not_flatten_the_rest():
    values = np.tile([1.0, 2.0], 200)
    values[7] = 1000.0
    rows, _ = places(picture(line(values, bounds=False, width=3.0), height=200), BLUE)
    assert rows.max() - rows.min() > 100


def test_what_must_be_shown_is_inside_the_axes():
    rows, _ = places(picture(line([1.0, 2.0]), line([90.0], RED, dots=True), height=200), RED)
    assert len(rows) > 20
    assert rows.min() > chart.HEADER + chart.TITLE


def test_a_long_line_keeps_its_extremes():
    values = np.ones(50_000)
    values[31_234] = 5.0
    steps, kept = chart.thinned((np.arange(50_000.0), values), chart.Scale(0, 50_000, 92, 1172))
    assert kept.max() == 5.0
    assert len(kept) < 3000
    assert (np.diff(steps) > 0).all()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.29, [0.0, 0.1, 0.2, 0.3]),
        (0.04, 0.11, [0.0, 0.05, 0.1, 0.15]),
        (0.0, 2e-4, [0.0, 1e-4, 2e-4]),
        (3.0, 3.0, [2.6, 2.8, 3.0, 3.2, 3.4]),
    ],
)
def test_ticks_are_round_numbers_that_enclose_the_range(low, high, expected):
    ticks = chart._nice_ticks(low, high, count=3)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert ticks == pytest.approx(expected)


def test_one_step_is_a_dot_in_the_middle():
    _, columns = places(picture(line([1.0])), BLUE)
    assert 600 < columns.mean() < 660


def test_step_numbers_are_whole():
    assert chart.step_ticks(chart.Scale(1, 3, 92, 1172)) == [1, 2, 3]
    assert chart.step_ticks(chart.Scale(1, 1600, 92, 1172))[:2] == [200, 400]


def svg(*lines, **options):
    text = "\n".join(svg_chart([Panel("Loss", lines, 200, **options)], axis="step", about="a <loss>"))
    return text, xml.etree.ElementTree.fromstring(re.sub(r"=([\w.-]+)(?=[ />])", r'="\1"', text))


def test_in_a_page_a_falling_line_falls_in_the_same_axes():
    _, root = svg(line([4.0, 3.0, 2.0, 1.0]))
    (path,) = [element for element in root.iter("path") if "L" in element.get("d")]
    places = [tuple(map(float, place.split())) for place in path.get("d")[1:].split("L")]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted(y for _, y in places)
    assert (places[0][0], places[-1][0]) == (chart.LEFT, chart.WIDTH - chart.RIGHT)
    assert "--line:rgb(0,92,150)" in path.get("style")
    assert root.get("aria-label") == "a <loss>"


def test_in_a_page_the_colours_of_paper_and_ink_are_the_pages():
    text, _ = svg(line([4.0, 3.0]), line([2.0], RED, dots=True))
    assert "fill=" not in text
    assert "stroke=" not in text
    assert text.count("rgb(") == text.count("--line:rgb(")
