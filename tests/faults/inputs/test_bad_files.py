"""Promises 5, 6 and 7: a picture that cannot be read costs one item; a huge one is never decoded; a hostile file runs nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.builders.families import PLAIN
from tests.builders.pictures import huge_png, photo_folder
from tests.faults.forks import Forks
from tests.faults.scenes import SCENES, results

MAX_RSS_MIB = 300
PARTIAL = 3


def bit_flipped(png: bytes) -> bytes:
    """Return a PNG with one bit of its image data turned over, which its checksum tells."""
    data = bytearray(png)
    data[png.index(b"IDAT") + 12] ^= 16
    return bytes(data)


def spoiled(png: bytes) -> dict[str, bytes]:
    return {
        "truncated": png[: len(png) // 2],
        "empty": b"",
        "webpage": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "flipped": bit_flipped(png),
        "huge": huge_png(50_000, 50_000),
    }


# Which folders hold pictures that are spoiled; every other folder gets a sound picture of the same name.
PICTURES = [
    ("masks", "photos"),
    ("instance", "photos"),
    ("apply", "masks"),
    ("apply", "subject"),
    ("to-alpha", "photos"),
    ("to-alpha", "masks"),
]
PICTURES += [("cache", "photos"), ("cache", "masks")]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "where"), PICTURES)
def test_every_bad_picture_costs_its_item_and_no_other(tmp_path: Path, forks: Forks, command: str, where: str) -> None:
    scene = SCENES[command](tmp_path)
    first = tmp_path / where / "one.png"
    bad = spoiled(first.read_bytes())
    for name, content in bad.items():
        for folder in scene.inputs:
            sound = (tmp_path / folder / first.name).read_bytes()
            (tmp_path / folder / f"{name}.png").write_bytes(content if folder == where else sound)
        if command == "cache":
            (tmp_path / "photos" / f"{name}.txt").write_text("a person")
    ended = forks.run(tmp_path, *scene.arguments, "--json")
    assert ended.code == PARTIAL, ended.err
    summary = json.loads(ended.out)
    assert sorted(Path(failed["item"]).stem for failed in summary["failed"]) == sorted(bad)
    assert summary["written"] == len(list((tmp_path / where).glob("*.png"))) - len(bad)
    assert not [name for name in results(tmp_path / scene.output) if name.endswith(".png") and Path(name).stem in bad]


# The last line on stderr is the most memory this process ever held.
TOLD_PEAK = """
import atexit, pathlib, sys
from blissmask.cli.app import main
tell = lambda: print([line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line][0], file=sys.stderr)
atexit.register(tell)
main()
"""


@pytest.mark.parametrize("command", ["masks", "apply", "to-alpha"])
def test_a_huge_picture_is_refused_in_little_memory(tmp_path: Path, command: str) -> None:
    scene = SCENES[command](tmp_path)
    for folder in scene.inputs:
        for path in (tmp_path / folder).glob("*.png"):
            path.write_bytes(huge_png(50_000, 50_000))
    ran = subprocess.run(
        [sys.executable, "-c", TOLD_PEAK, *scene.arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == PARTIAL, ran.stderr
    assert "claims more than the 179 million pixels" in ran.stderr
    assert int(ran.stderr.split()[-2]) / 1024 < MAX_RSS_MIB


class Touches:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "arguments",
    [
        (
            "cache",
            "--arch",
            PLAIN,
            "--image-directory",
            "photos",
            "--cache-directory",
            "out",
            "--latents-only",
            "--vae",
            "evil.pth",
        ),
        (
            "cache",
            "--arch",
            PLAIN,
            "--image-directory",
            "photos",
            "--cache-directory",
            "out",
            "--text-only",
            "--text-encoder",
            "evil.pth",
        ),
        ("train", "--arch", PLAIN, "--output-dir", "out", "--dit", "evil.pth"),
        ("train", "--arch", PLAIN, "--output-dir", "out", "--model", "tiny", "--network-weights", "evil.pth"),
    ],
    ids=["vae", "text encoder", "denoiser", "lora"],
)
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, forks: Forks, arguments: tuple[str, ...]) -> None:
    if arguments[0] == "cache":
        photo_folder(tmp_path / "photos", ["one.png"], size_wh=(64, 64))
        (tmp_path / "photos" / "one.txt").write_text("a person")
    else:
        SCENES["train"](tmp_path)
    torch.save({"weight": Touches(tmp_path / "touched")}, tmp_path / "evil.pth")
    ended = forks.run(tmp_path, *arguments)
    assert ended.code == 1, ended.err
    assert "evil.pth" in ended.err
    assert not (tmp_path / "touched").exists()


def test_the_hostile_pickle_would_run_where_pickles_are_trusted(tmp_path: Path) -> None:
    torch.save({"weight": Touches(tmp_path / "touched")}, tmp_path / "evil.pth")
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "touched").exists()
