"""Odd configurations, lists, captions and prompts are read or refused as the user's input, never our mistake."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blissmask.config.load import load_config
from blissmask.config.model import Config, section_type
from blissmask.dataset.captions.caption_file import caption_path, read_caption
from blissmask.dataset.item import MediaKind
from blissmask.dataset.jsonl import read_jsonl
from blissmask.errors import InputError, UsageError
from blissmask.tasks.train.previews.prompt_file import read_prompts

ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    "a",
    "\0",
    "a/b",
    "C:\tx",
    "~nobody/x",
]
ODD += ["x" * 5000, "\ud800", "\udc80", [], [0], [10**30, 1], ["a", "\0"], [[[]]], {}, {"a": 1}, [{"a": {}}]]


def fields() -> list[tuple[str, str]]:
    return [(section, name) for section in Config.model_fields for name in section_type(section).model_fields]


_FOLDER = tempfile.TemporaryDirectory(prefix="blissmask-hostile-")
"""One folder for all examples: each writes its file over the one before."""


def written(name: str, content: str | bytes) -> Path:
    path = Path(_FOLDER.name) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(fields()), st.sampled_from(ODD)), min_size=1, max_size=3))
def test_any_value_of_any_key_is_taken_or_refused(pairs: list[tuple[tuple[str, str], Any]]) -> None:
    data: dict[str, Any] = {}
    for (section, name), value in pairs:
        tables = data.setdefault("datasets", [{}]) if section == "datasets" else None
        (tables[0] if tables is not None else data.setdefault(section, {}))[name] = value
    path = written("a.json", json.dumps(data))
    told = path.name
    try:
        load_config(path, {})
    except UsageError as error:
        told = " ".join([error.problems[0].what, *error.problems[0].where])
    assert path.name in told


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(fields()), st.one_of(st.text(), st.lists(st.text(), max_size=3)))
def test_whatever_is_typed_behind_a_flag_is_taken_or_refused(field: tuple[str, str], typed: str | list[str]) -> None:
    section, name = field
    with contextlib.suppress(UsageError):
        load_config(None, {section: {name: typed}}, {(section, name): "--flag"})


TABLES = ["[train]", "[[datasets]]", "[general]", "[dataset]", "[[dataset]]", "[", "[[", "[a.b.c]", "[train.seed]"]
LINES = ["resolution = [32, 32]", "seed = 1", 'image_directory = "a"', "a = b", "a = “b”", 'a = "b', "= 1", "x" * 999]
LINES += ["caption_extension = '.txt/../a'", "seed = " + "9" * 5000, "seed = 0x" + "f" * 5000, "a = " + "[" * 999]
LINES += ['cache_directory = "a\\u0000b"', 'mask_directory = "photos\\train"', "\0", "\ufeff", "jobs = 1e400"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*TABLES, *LINES]), max_size=6).map("\n".join))
def test_a_configuration_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        load_config(written("a.toml", text), {})


@pytest.mark.parametrize("suffix", [".toml", ".json"])
@given(content=st.binary(max_size=60))
def test_bytes_that_are_no_configuration_are_refused_by_name(suffix: str, content: bytes) -> None:
    path = written(f"a{suffix}", content)
    told = str(path)
    try:
        load_config(path, {})
    except UsageError as error:
        told = " ".join([error.problems[0].what, *error.problems[0].where])
    assert path.name in told


KEYS = ["image_path", "caption", "control_path", "control_path_0", "control_path_" + "9" * 5000, "mask_path", "x", "\0"]
VALUES: list[Any] = ["photos/a.png", "", "\0", "a\0b", "\ud800", 3, None, [], {}, "x" * 5000, float("nan")]
JSONL = [
    b"",
    b"{",
    b"[]",
    b"3",
    b"\xff",
    b"[" * 100_000,
    b'{"image_path": ' + b"9" * 5000 + b"}",
    b"null",
    b'{"a": \xc3',
]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(JSONL),
            st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)).map(lambda line: json.dumps(line).encode()),
        ),
        max_size=4,
    ).map(b"\n".join)
)
def test_a_list_is_read_or_refused_by_name(content: bytes) -> None:
    path = written("list.jsonl", content)
    told = str(path)
    try:
        for item in read_jsonl(path, MediaKind.IMAGE)[0]:
            for file in (*item.pixel_paths, item.mask_path or path):
                # What a list names may be asked for; the system itself may find a name too long.
                with contextlib.suppress(OSError):
                    file.stat()
    except InputError as error:
        told = " ".join(error.problems[0].where)
    assert str(path) in told


@given(content=st.binary(max_size=60))
def test_a_caption_is_read_or_refused_by_name(content: bytes) -> None:
    path = written("a.txt", content)
    told = (str(path),)
    try:
        read_caption(path)
    except InputError as error:
        told = error.problems[0].where
    assert told == (str(path),)


@pytest.mark.parametrize("extension", [".txt/../b", "/etc/passwd", "a\\b", "\0", "//"])
def test_an_extension_that_leaves_the_folder_is_refused(extension: str) -> None:
    for section in ("general", "to_alpha"):
        with pytest.raises(UsageError, match="1 problem in the flags"):
            load_config(None, {section: {"caption_extension": extension}})


@pytest.mark.parametrize("extension", [".txt", "txt", ".caption", ".png.txt", "", ".tüt"])
def test_the_end_of_a_file_name_is_taken(extension: str) -> None:
    named = load_config(None, {"general": {"caption_extension": extension}}).general.caption_extension
    assert caption_path(Path("photos/a.png"), named or "").parent == Path("photos")


PROMPTS = ["a portrait", "--w", " --w 64", " --h 10000000000", " --d " + "9" * 5000, " --i \0", " --ci x", " --s 1e5"]
PROMPTS += ["#", "\0", "\x85", " --n", " --l nan", " --fs inf", " --zz 1", "\udc80", " --f -1"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PROMPTS), max_size=5).map(" ".join), st.sampled_from([".txt", ".toml", ".json"]))
def test_a_file_of_prompts_is_read_or_refused(text: str, suffix: str) -> None:
    with contextlib.suppress(UsageError):
        read_prompts(written(f"prompts{suffix}", text))


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.sampled_from(ODD),
        st.lists(
            st.one_of(
                st.sampled_from(ODD),
                st.dictionaries(
                    st.sampled_from(["prompt", "width", "seed", "image_path", "control_image_path", "cfg_scale"]),
                    st.sampled_from(ODD),
                ),
            )
        ),
    )
)
def test_tables_of_prompts_are_read_or_refused(data: Any) -> None:
    with contextlib.suppress(UsageError):
        for prompt in read_prompts(written("prompts.json", json.dumps(data))):
            for path in (*prompt.control_image_path, prompt.image_path or Path("a.png")):
                with contextlib.suppress(OSError):
                    path.stat()
