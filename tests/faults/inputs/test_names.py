"""Promises 10 and 11: any file name works and is shown, and no two files ever share one output in silence."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from tests.builders.families import CACHE_SUFFIX
from tests.faults.forks import Forks
from tests.faults.scenes import SCENES

# A name may have 255 bytes; a cache entry adds its size and family to the stem.
LONGEST = "x" * 200
ODD = [
    "😀",
    "שלום",
    "e\u0301",
    "-rf",
    "[bold]x",
    "two\nlines",
    "tab\tand\x1b[31m",
    " spaces ",
    LONGEST,
    os.fsdecode(b"\xff\xfe"),
]
TWINS = {"suffixes": ("a.png", "a.jpg"), "cases": ("A.png", "a.png"), "accents": ("\u00e9.png", "e\u0301.png")}
# The folder whose names become outputs, of every command that reads pictures.
NAMED_AFTER = {"masks": "photos", "instance": "photos", "apply": "masks", "to-alpha": "photos", "cache": "photos"}


def rename_to(folder: Path, inputs: tuple[str, ...], names: list[str]) -> None:
    """Give copies of the scene's first item these names instead, in all its folders."""
    for name in inputs:
        contents = {path.suffix: path.read_bytes() for path in (folder / name).iterdir() if path.stem == "one"}
        for path in (folder / name).iterdir():
            path.unlink()
        for stem in names:
            for suffix, content in contents.items():
                (folder / name / f"{stem}{suffix}").write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(NAMED_AFTER))
def test_odd_names_come_through_to_outputs_json_and_sheet(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    arguments = [*scene.arguments, "--json"]
    if command == "instance":
        (tmp_path / "kyla.png").write_bytes((tmp_path / "photos" / "one.png").read_bytes())
        arguments[arguments.index("photos/one.png")] = "kyla.png"
    if command in ("masks", "instance", "apply", "cache"):
        arguments += ["--sheet", "sheet.html"]
    rename_to(tmp_path, scene.inputs, ODD)
    ended = forks.run(tmp_path, *arguments)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["written"] == len(ODD)
    suffix = f"_*_{CACHE_SUFFIX}.safetensors" if command == "cache" else ".png"
    assert len(list((tmp_path / scene.output).glob(f"*{suffix}"))) == len(ODD)
    if command != "cache":
        assert {path.stem for path in (tmp_path / scene.output).glob("*.png")} == set(ODD)
    if "--sheet" in arguments:
        assert "שלום" in (tmp_path / "sheet.html").read_text(encoding="utf-8")
    again = forks.run(tmp_path, *arguments)
    assert json.loads(again.out)["skipped"] == len(ODD), again.out


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(NAMED_AFTER))
def test_odd_names_are_told_one_a_line_and_never_as_markup(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    rename_to(tmp_path, scene.inputs, ["sound", *ODD])
    if command == "instance":
        (tmp_path / "photos" / "one.png").write_bytes((tmp_path / "photos" / "sound.png").read_bytes())
    for name in ODD:
        (tmp_path / NAMED_AFTER[command] / f"{name}.png").write_bytes(b"no picture")
    ended = forks.run(tmp_path, *scene.arguments, "--verbose")
    assert ended.code == 3, ended.err
    for shown in ("😀", "שלום", "-rf", "[bold]x", r"two\nlines", r"tab\tand\x1b[31m", LONGEST, r"\udcff\udcfe"):
        assert shown in ended.err, shown
    assert "\x1b" not in ended.err
    planned = forks.run(tmp_path, *scene.arguments, "--dry-run", "--json")
    assert {Path(item["item"]).stem for item in json.loads(planned.out)["items"]} >= set(ODD)


def test_the_longest_name_there_is_comes_through(tmp_path: Path, forks: Forks) -> None:
    scene = SCENES["to-alpha"](tmp_path)
    rename_to(tmp_path, scene.inputs, ["x" * 251])
    ended = forks.run(tmp_path, *scene.arguments)
    assert ended.code == 0, ended.err
    assert (tmp_path / "out" / f"{'x' * 251}.png").exists()


@pytest.mark.parametrize("twins", sorted(TWINS))
@pytest.mark.parametrize("command", sorted(NAMED_AFTER))
def test_twins_are_refused_together_before_anything_is_written(
    tmp_path: Path, forks: Forks, command: str, twins: str
) -> None:
    scene = SCENES[command](tmp_path)
    folder = tmp_path / NAMED_AFTER[command]
    for name in TWINS[twins]:
        (folder / name).write_bytes((folder / "one.png").read_bytes())
    if len({path.name for path in folder.iterdir()} & set(TWINS[twins])) < len(TWINS[twins]):
        pytest.skip("this disk does not tell the two names apart")
    ended = forks.run(tmp_path, *scene.arguments, "--json")
    assert ended.code == 1, ended.err
    assert not (tmp_path / scene.output).exists()
    told = {Path(place).name for problem in json.loads(ended.out)["problems"] for place in problem["where"]}
    assert told >= set(TWINS[twins])
    assert len({unicodedata.normalize("NFC", name) for name in TWINS[twins]}) == (1 if twins == "accents" else 2)
