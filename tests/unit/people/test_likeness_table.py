"""The table of the likeness score counts pairs of photos by their names, and says where the border fails."""

import pytest

from tests.benchmarks import likeness
from tests.builders.face_reader import PaintedFaces, painted
from tests.builders.pictures import save


@pytest.fixture
def photos(tmp_path, monkeypatch):
    # Painted faces do not survive another size.
    monkeypatch.setattr(likeness, "FACE_WIDTHS", ())
    for name, person in {"kyla1": (255, 0), "kyla2": (230, 0), "anne": (0, 255)}.items():
        save(tmp_path / f"{name}.png", painted(person))
    save(tmp_path / "group.png", painted((255, 0), (0, 255)))
    return tmp_path


def test_pairs_of_one_person_and_of_strangers_are_counted_apart(photos):
    reader = PaintedFaces()
    lines, are_apart = likeness.table(likeness.read_known(photos, reader), reader)
    assert lines[2:] == [
        "| whole photos: one person | 1 | 0.90 | 0.90 | 0.90 | 0 |",
        "| whole photos: strangers | 2 | 0.00 | 0.00 | 0.00 | 0 |",
    ]
    assert are_apart


def test_a_stranger_within_the_border_is_on_the_wrong_side(photos):
    save(photos / "anne.png", painted((200, 0)))
    reader = PaintedFaces()
    lines, are_apart = likeness.table(likeness.read_known(photos, reader), reader)
    assert lines[3].endswith("| 2 |")
    assert not are_apart
