"""What a caption file holds, as its program means it; and captions that lie there under other names."""

import json
from pathlib import Path

import pytest

from blissmask.config.model import Config
from blissmask.dataset.captions.caption_file import (
    caption_of,
    caption_path,
    extension_advice,
    extension_of,
    has_several_lines,
    looks_like_json,
    other_captions,
)
from blissmask.dataset.item import CaptionFolder, DatasetItem, MediaFile, MediaKind
from blissmask.errors import InputError


def item(folder, name="a.png", extension=".txt"):
    media = MediaFile.of(folder / name, MediaKind.IMAGE)
    return DatasetItem(media, CaptionFolder(folder, extension))


def read(folder, text, style, name="a.png"):
    (folder / f"{Path(name).stem}.txt").write_text(text, encoding="utf-8")
    return caption_of(item(folder, name), style)


def test_captions_stand_beside_their_photo():
    assert caption_path(Path("photos/kyla.v2.png"), ".txt") == Path("photos/kyla.v2.txt")


def test_text_is_read_as_it_is(tmp_path):
    assert read(tmp_path, " kyla\nin a garden \n", "text") == "kyla\nin a garden"
    assert read(tmp_path, '{"caption": "kyla"}', "text") == '{"caption": "kyla"}'


def test_a_list_gives_its_own_caption_in_the_style_it_is_written_in(tmp_path):
    def listed(text, style, **more):
        return caption_of(DatasetItem(item(tmp_path).media, caption=text, **more), style)

    assert listed("listed", "json") == "listed"
    assert listed('{"caption": "kyla"}', "json") == "kyla"
    assert listed("one\none", "lines") == "one"
    assert listed("by the sea\n\nshe wears red", "lines") == "by the sea\n\nshe wears red"
    assert listed('{"caption": "kyla"}', "json", has_default_caption=True) == '{"caption": "kyla"}'


def test_one_line_is_drawn_by_the_name_of_the_item_always_the_same(tmp_path):
    text = "one\n\n two \nthree\n"
    drawn = {name: read(tmp_path, text, "lines", name) for name in (f"{number}.png" for number in range(30))}
    assert set(drawn.values()) == {"one", "two", "three"}
    assert read(tmp_path, text, "lines", "7.png") == drawn["7.png"]
    assert read(tmp_path, "", "lines") == ""


@pytest.mark.parametrize(
    ("value", "caption"),
    [
        ({"caption": " kyla in a garden ", "tags": ["smile"]}, "kyla in a garden"),
        ({"tags": ["kyla", "smile"]}, "kyla, smile"),
        ({"tags": "kyla, smile"}, "kyla, smile"),
        ({"width": 3, "prompt": "kyla"}, "kyla"),
        (["kyla", "smile"], "kyla, smile"),
        ("kyla", "kyla"),
        ({"caption": ["kyla"]}, "kyla"),
    ],
)
def test_the_caption_is_taken_out_of_json(tmp_path, value, caption):
    assert read(tmp_path, json.dumps(value), "json") == caption


@pytest.mark.parametrize(
    ("text", "message"), [("kyla", "not JSON"), ('{"width": 3}', "holds no caption"), ("[" * 9999, "not JSON")]
)
def test_json_without_a_caption_is_refused_by_file(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text, "json")
    assert caught.value.problems[0].where == (str(tmp_path / "a.txt"),)


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{"caption": "kyla"}', True),
        ("[1, 2]", True),
        ("[trigger] kyla", False),
        ("{kyla|karla} smiles", False),
        ("5", False),
    ],
)
def test_json_is_known_from_text_that_begins_alike(text, is_json):
    assert looks_like_json(text) is is_json


def test_paragraphs_are_one_caption():
    assert has_several_lines("one\ntwo")
    assert not has_several_lines("one paragraph\n\nanother")
    assert not has_several_lines("one paragraph\r\n \r\nanother")
    assert not has_several_lines("one\n")


@pytest.mark.parametrize("name", ["a.caption", "a.png.txt", "A.TXT"])
def test_a_caption_of_another_name_is_found(tmp_path, name):
    (tmp_path / name).write_text("kyla")
    (tmp_path / "b.caption").write_text("somebody else")
    found = other_captions([(item(tmp_path).media, tmp_path)])
    assert found == {tmp_path / "a.png": tmp_path / name}


@pytest.mark.parametrize("text", ['{"title": "a.png", "description": "", "photoTakenTime": {}}', "kyla", "[1]", ""])
def test_json_without_a_caption_is_no_caption_of_another_name(tmp_path, text):
    (tmp_path / "a.png.json").write_text(text)
    assert other_captions([(item(tmp_path).media, tmp_path)]) == {}
    (tmp_path / "a.text").write_text("kyla")
    assert other_captions([(item(tmp_path).media, tmp_path)]) == {tmp_path / "a.png": tmp_path / "a.text"}


def test_json_with_a_caption_is_found_and_told_with_its_style(tmp_path):
    (tmp_path / "a.json").write_text('{"caption": "kyla"}')
    others = other_captions([(item(tmp_path).media, tmp_path)])
    assert others == {tmp_path / "a.png": tmp_path / "a.json"}
    assert extension_advice(others) == 'set `caption_extension = ".json"` and `caption_style = "json"`'


def test_the_setting_that_makes_a_file_the_caption_is_known():
    assert extension_of(Path("a.png"), Path("a.caption")) == ".caption"
    assert extension_of(Path("a.png"), Path("a.png.txt")) == ".png.txt"
    assert extension_of(Path("a.png"), Path("A.TXT")) is None


@pytest.mark.parametrize(("typed", "meant"), [("txt", ".txt"), (".txt", ".txt"), ("_words.txt", "_words.txt")])
def test_an_extension_without_its_dot_gets_one(typed, meant):
    config = Config.model_validate({"datasets": [{"image_directory": "photos", "caption_extension": typed}]})
    assert config.datasets[0].caption_extension == meant
