"""Prompt files of musubi-tuner's kinds are read alike, and what is wrong in them is named with its line."""

import json
from pathlib import Path

import pytest

from blissmask.errors import UsageError
from blissmask.tasks.train.previews.prompt_file import PreviewPrompt, read_prompts
from tests.builders.training import problems_of

WHOLE = PreviewPrompt(
    place="",
    prompt="a cat, on a mat",
    width=832,
    height=480,
    frame_count=81,
    seed=0,
    sample_steps=30,
    guidance_scale=6.5,
    cfg_scale=4.0,
    discrete_flow_shift=3.0,
    negative_prompt="blurred, dark",
    image_path=Path("a b.png"),
    control_image_path=(Path("c.png"), Path("d.png")),
)
LINE = "a cat, on a mat --w 832 --h 480 --f 81 --d 0 --s 30 --g 6.5 --l 4 --fs 3 --n blurred, dark --i a b.png --ci c.png --ci d.png"
TABLE = {
    "prompt": "a cat, on a mat",
    "width": 832,
    "height": 480,
    "frame_count": 81,
    "seed": 0,
    "sample_steps": 30,
    "guidance_scale": 6.5,
    "cfg_scale": 4,
    "discrete_flow_shift": 3.0,
    "negative_prompt": "blurred, dark",
    "image_path": "a b.png",
    "control_image_path": ["c.png", "d.png"],
}


def write(folder, name, content):
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


def read(folder, name, content):
    """Return the prompts without their places."""
    return [
        {**{field: getattr(prompt, field) for field in PreviewPrompt.__slots__}, "place": ""}
        for prompt in read_prompts(write(folder, name, content))
    ]


def whole():
    return {field: getattr(WHOLE, field) for field in PreviewPrompt.__slots__}


def toml(table):
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", LINE),
        (
            "P.TXT",
            LINE.upper()
            .replace("A CAT, ON A MAT", "a cat, on a mat")
            .replace("BLURRED, DARK", "blurred, dark")
            .replace("A B.PNG", "a b.png")
            .replace("C.PNG", "c.png")
            .replace("D.PNG", "d.png"),
        ),
        ("p.toml", f"[prompt]\n[[prompt.subset]]\n{toml(TABLE)}"),
        ("p.json", json.dumps([TABLE])),
        ("p.json", json.dumps([LINE])),
    ],
)
def test_every_kind_of_file_says_the_same(tmp_path, name, content):
    assert read(tmp_path, name, content) == [whole()]


def test_lines_that_are_empty_or_comments_are_passed_over_and_places_are_lines(tmp_path):
    prompts = read_prompts(write(tmp_path, "p.txt", "# title\n\na cat\n  # more\n a dog --w 64 \n"))
    assert [(prompt.place, prompt.prompt, prompt.width) for prompt in prompts] == [
        ("p.txt, line 3", "a cat", None),
        ("p.txt, line 5", "a dog", 64),
    ]


def test_what_toml_prompts_share_is_overruled_by_each(tmp_path):
    content = (
        '[prompt]\nwidth = 64\nseed = 1\n[[prompt.subset]]\nprompt = "a"\n[[prompt.subset]]\nprompt = "b"\nwidth = 32\n'
    )
    assert [(prompt["width"], prompt["seed"]) for prompt in read(tmp_path, "p.toml", content)] == [(64, 1), (32, 1)]


def test_dashes_inside_a_text_are_text(tmp_path):
    (prompt,) = read_prompts(write(tmp_path, "p.txt", "a well--known cat -- on a mat --n a--b -- c"))
    assert (prompt.prompt, prompt.negative_prompt) == ("a well--known cat -- on a mat", "a--b -- c")


def test_an_empty_negative_prompt_is_one(tmp_path):
    (prompt,) = read_prompts(write(tmp_path, "p.txt", "a cat --n"))
    assert prompt.negative_prompt == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a --width 64", "unknown option `--width`, did you mean `--w`?"),
        ("a --hieght 64", "unknown option `--hieght`, did you mean `--h`?"),
        ("a --q 1", "unknown option `--q`, there are --w, --h,"),
        ("a --ei b.png", "`--ei` is an option of musubi-tuner that is not offered here"),
        ("a --of target_index=1", "`--of` is an option of musubi-tuner that is not offered here"),
        ("a --w wide", "--w must be a whole number, got 'wide'"),
        ("a --w 64.5", "--w must be a whole number, got '64.5'"),
        ("a --w 0", "--w must be >= 1, got 0"),
        ("a --d -1", "--d must be >= 0, got -1"),
        ("a --s 1001", "--s must be <= 1000, got 1001"),
        ("a --l nan", "--l must be >= 0, got nan"),
        ("a --fs 0", "--fs must be >= 0.01, got 0.0"),
        ("a --i", "--i must be a path, got ''"),
        ("a --w 64 --w 32", "--w is given twice"),
        (" --w 64", "there is no text to draw"),
    ],
)
def test_what_is_wrong_in_a_line_is_named(tmp_path, line, message):
    with pytest.raises(UsageError) as caught:
        read_prompts(write(tmp_path, "p.txt", f"fine\n{line}\n"))
    assert f"p.txt, line 2: {message}" in problems_of(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"prompt": "a", "w": 64}, "unknown option `w`, did you mean `width`?"),
        ({"prompt": "a", "widht": 64}, "unknown option `widht`, did you mean `width`?"),
        ({"prompt": "a", "one_frame": "x"}, "`one_frame` is an option of musubi-tuner that is not offered here"),
        ({"prompt": "a", "width": "64"}, "`width` must be a whole number, got '64'"),
        ({"prompt": "a", "width": True}, "`width` must be a whole number, got True"),
        ({"prompt": 3}, "there is no text to draw"),
        ({"width": 64}, "there is no text to draw"),
        (3, "a prompt must be a table or a line of text"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path, table, message):
    with pytest.raises(UsageError) as caught:
        read_prompts(write(tmp_path, "p.json", json.dumps(["fine", table])))
    assert f"p.json, prompt 2: {message}" in problems_of(caught.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    with pytest.raises(UsageError) as caught:
        read_prompts(write(tmp_path, "p.txt", "a --x 1\nb\nc --w 0\n"))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "a", ".txt, .toml and .json"),
        ("p.txt", "# nothing\n", "holds no prompt"),
        ("p.toml", "a = ", "cannot be parsed"),
        ("p.toml", "[prompt]\nprompt = 'a'\n", r"\[\[prompt.subset\]\]"),
        ("p.toml", "prompt = 3\n", r"\[\[prompt.subset\]\]"),
        ("p.json", "{", "cannot be parsed"),
        ("p.json", '{"prompt": "a"}', "list of prompts"),
    ],
)
def test_a_file_that_is_no_prompt_file_is_refused(tmp_path, name, content, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_prompts(write(tmp_path, name, content))
    assert str(tmp_path / name) in problems_of(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(tmp_path / "missing.txt")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_prompts(tmp_path / "p.txt")


def test_a_subset_that_is_no_table_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"subset\]\] 1: a prompt must be a table"):
        read_prompts(write(tmp_path, "p.toml", "[prompt]\nsubset = [3]\n"))
