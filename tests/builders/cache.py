"""A small data set and `cache` runs over it, for the cache tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blissmask.cachefile.entry import CacheEntry
from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_metadata
from blissmask.cachefile.read_headers import list_headers
from blissmask.config.model import Config
from blissmask.families.family import FamilyForTask
from blissmask.tasks.cache.plan import CachePlan
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import RunContext, Summary
from tests.builders.families import CACHE_SUFFIX, TWO_EXPERTS
from tests.builders.pictures import Rgb, save, write_video

PHOTO_WH = (96, 64)
FRAMES = 12


def config(
    folder: Path,
    *,
    cache: dict[str, Any] | None = None,
    masks: dict[str, Any] | None = None,
    arch: str = TWO_EXPERTS,
    task: str | None = None,
    run: dict[str, Any] | None = None,
    **dataset: Any,
) -> Config:
    """Return a configuration with one data set: ``photos`` and ``cache`` below ``folder``, at 64 x 48.

    There are the subjects that its ``subject`` names.
    """
    if not any(name in dataset for name in ("image_jsonl_file", "video_directory", "video_jsonl_file")):
        dataset.setdefault("image_directory", folder / "photos")
    dataset = {"cache_directory": folder / "cache", "resolution": [64, 48], **dataset}
    return Config.model_validate(
        {
            "model": {"arch": arch, "model": "tiny", "task": task},
            "datasets": [dataset],
            "subjects": [
                {"name": name, "trigger": f"{name}wx", "references": ["a.jpg"]}
                for name in _listed(dataset.get("subject"))
            ],
            "cache": cache or {},
            "masks": masks or {},
            "run": {"jobs": 2, **(run or {})},
        }
    )


def _listed(names: str | Sequence[str] | None) -> Sequence[str]:
    return [names] if isinstance(names, str) else names or []


def moving_frames(count: int = FRAMES) -> list[Rgb]:
    """Return frames of rising grey, so that each can be told."""
    return [np.full((48, 64, 3), 10 + 15 * number, np.uint8) for number in range(count)]


def video_folder(folder: Path, *names: str) -> Path:
    """Write one lossless video of 12 frames and its caption per name."""
    for name in names:
        write_video(folder / "videos" / f"{name}.avi", moving_frames())
        (folder / "videos" / f"{name}.txt").write_text(f"a clip called {name}", encoding="utf-8")
    return folder


def on_videos(folder: Path, **settings: Any) -> dict[str, Any]:
    """Return the settings of a data set of clips of 5 frames."""
    return {"video_directory": folder / "videos", "target_frames": [5], **settings}


def frame_names(count: int) -> list[str]:
    """Return names of frames that sort alike as text and as numbers."""
    return [f"{number:06}.png" for number in range(count)]


def listed_frames(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Write a folder of frames and the list that names it; return the settings of its data set."""
    for name, frame_HW3 in zip(names, moving_frames(len(names)), strict=True):
        save(folder / "frames" / "clip" / name, frame_HW3)
    line = {"video_path": str(folder / "frames" / "clip"), "caption": "a clip"}
    (folder / "list.jsonl").write_text(json.dumps(line), encoding="utf-8")
    return {"video_jsonl_file": folder / "list.jsonl", "target_frames": [5]}


def build(folder: Path, **settings: Any) -> Summary:
    """Plan and run."""
    return run_cache(plan(folder, **settings), RunContext(jobs=2))


def plan(folder: Path, **settings: Any) -> CachePlan:
    """Plan alone."""
    return plan_cache(config(folder, **settings))


def captions(folder: Path, names: list[str], text: str = "a photo of kyla") -> None:
    """Write one caption per name beside the photos."""
    for name in names:
        (folder / "photos" / f"{name}.txt").write_text(text, encoding="utf-8")


def entries(folder: Path) -> dict[str, CacheEntry]:
    """Return every entry of the cache by its stem."""
    return {header.stem: load_entry(header) for header in list_headers(folder / "cache", CACHE_SUFFIX)}


def metadata(folder: Path, stem: str) -> dict[str, str]:
    """Return the metadata of one latent file."""
    [header] = [header for header in list_headers(folder / "cache", CACHE_SUFFIX) if header.stem == stem]
    return read_metadata(header.path)


def times(folder: Path) -> dict[str, int]:
    """Return when each file of the cache was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cache").glob("*.safetensors")}


class ModelCounter:
    """Counts which models are loaded."""

    def __init__(self, monkeypatch: Any) -> None:
        self.loaded: list[str] = []
        for method in ("load_latent_encoder", "load_text_encoder"):
            monkeypatch.setattr(FamilyForTask, method, self._counting(method, getattr(FamilyForTask, method)))

    def _counting(self, name: str, original: Any) -> Any:
        def load(*args: Any, **kwargs: Any) -> Any:
            self.loaded.append(name)
            return original(*args, **kwargs)

        return load
