"""Play the scenes, and print or compare their fingerprints."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tests import sameness
from tests.sameness.cache_options import cache_options_scene
from tests.sameness.described import REPOSITORY
from tests.sameness.families import experts_scene, family_scene, model_files_scene, one_frame_scene
from tests.sameness.roads import examples_scene, masks_scene, road_scene
from tests.sameness.scene import Scene
from tests.sameness.tasks import Task, families
from tests.sameness.training_options import training_options_scene


def scenes(tasks: Sequence[Task], models: Path | None) -> Mapping[str, Callable[[Scene], None]]:
    """Return every scene by name, the longest first."""
    # Options that concern all families alike are tried on the default task of one that has one-frame training as well.
    with_one_frame = next(task.family for task in tasks if task.one_frame)
    plain = next(task for task in tasks if task.family == with_one_frame)
    found: dict[str, Callable[[Scene], None]] = {
        "road": road_scene,
        "masks": masks_scene,
        "examples": examples_scene,
        "training-options": lambda scene: training_options_scene(scene, plain),
        "cache-options": lambda scene: cache_options_scene(scene, plain),
    }
    for task in tasks:
        found[f"{task.family}/{task.name}"] = lambda scene, task=task: family_scene(scene, task)
        if task.experts:
            found[f"experts/{task.family}/{task.name}"] = lambda scene, task=task: experts_scene(scene, task)
        if task.one_frame:
            found[f"one-frame/{task.family}/{task.name}"] = lambda scene, task=task: one_frame_scene(scene, task)
        if models is not None and (own := models / task.family / task.name).is_dir():
            name = f"model-files/{task.family}/{task.name}"
            found[name] = lambda scene, task=task, own=own: model_files_scene(scene, task, own)
    return found


def main() -> int:
    """Print the listing, or with ``--compare`` the differences; return the exit code."""
    options = _parse()
    _make_deterministic()
    all_scenes = scenes(families(), options.models)
    chosen = {name: play for name, play in all_scenes.items() if fnmatchcase(name, options.only)}
    if not chosen:
        sys.exit(f"error: no scene is called `{options.only}`; there are {', '.join(all_scenes)}")
    _import_what_is_heavy()
    with tempfile.TemporaryDirectory(prefix="sameness-") as folder:
        complete = _play_all(chosen, Path(folder).resolve(), options.details, options.jobs)
        prints = {name: digest for scene in sorted(chosen) for name, digest in _results(Path(folder), scene).items()}
    if options.compare is not None:
        expected = _read_listing(options.compare, chosen)
        return max(_show_differences(expected, prints), 0 if complete else 1)
    for name in sorted(prints):
        print(f"{name}  {prints[name]}")
    return 0 if complete else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=sameness.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PATTERN", default="*", help="scenes to play, e.g. `*/t2v`")
    parser.add_argument("--details", metavar="FOLDER", type=Path, help="write what was hashed as text")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="a listing to compare with")
    parser.add_argument("--models", metavar="FOLDER", type=Path, help="model files: FAMILY/TASK/NAME.flags names some")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="scenes at the same time (default: 2)")
    options = parser.parse_args()
    for name in ("details", "models"):
        if (path := getattr(options, name)) is not None:
            setattr(options, name, path.resolve())
    return options


def _make_deterministic() -> None:
    """Set what libraries read when they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    for name in ("COLUMNS", "FORCE_COLOR", "RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)


def _import_what_is_heavy() -> None:
    """Import once what every scene needs; its process is forked from this one, which computes nothing."""
    import diffusers  # noqa: F401
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as edit
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus

    import blissmask.cli.app

    if not Path(blissmask.cli.app.__file__).is_relative_to(REPOSITORY):
        sys.exit(f"error: the package is not the one of this folder, but {blissmask.cli.app.__file__}")
    torch.set_num_threads(1)
    # Control pictures of previews are brought to a megapixel, which takes minutes on a CPU.
    dimensions = edit.calculate_dimensions
    edit.calculate_dimensions = lambda area, ratio: dimensions(64 * 64, ratio)
    edit_plus.VAE_IMAGE_SIZE = 64 * 64


def _play_all(chosen: Mapping[str, Callable[[Scene], None]], folder: Path, details: Path | None, jobs: int) -> bool:
    """Play every scene in a process of its own, ``jobs`` at a time; return whether all of them came to their end."""
    waiting, running, complete = list(chosen), {}, True
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            process = os.fork()
            if not process:
                _play(name, chosen[name], folder, details)
            running[process] = name, time.monotonic()
        process, status = os.wait()
        name, began = running.pop(process)
        ended = "" if status == 0 else ", which FAILED"
        complete = complete and status == 0
        print(f"{name}: {time.monotonic() - began:.0f} s{ended}", file=sys.stderr, flush=True)
    return complete


def _play(name: str, play: Callable[[Scene], None], folder: Path, details: Path | None) -> None:
    """Play one scene and write down its fingerprints; never returns."""
    status = 1
    try:
        where = folder / name
        where.mkdir(parents=True)
        os.chdir(where)
        scene = Scene(name, details)
        play(scene)
        for command, code in scene.ended.items():
            print(f"{name}: {command} ended with {code}", file=sys.stderr)
        _result_file(folder, name).write_text(json.dumps(scene.prints))
        status = 0
    except BaseException:  # noqa: BLE001 - the process that was forked must not go on as if it were the other one
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _result_file(folder: Path, scene: str) -> Path:
    return folder / f"{scene.replace('/', '+')}.prints"


def _results(folder: Path, scene: str) -> dict[str, str]:
    path = _result_file(folder, scene)
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _read_listing(path: Path, chosen: Mapping[str, object]) -> dict[str, str]:
    """Return the lines of a listing that belong to the chosen scenes."""
    lines = (line.rsplit("  ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line)
    return {name: digest for name, digest in lines if any(name.startswith(f"{scene}/") for scene in chosen)}


def _show_differences(expected: Mapping[str, str], found: Mapping[str, str]) -> int:
    differences = list(_differences(expected, found))
    for line in differences:
        print(line)
    print(f"{len(found)} fingerprints, {len(differences)} differences", file=sys.stderr)
    return 1 if differences else 0


def _differences(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"missing  {name}"
        elif name not in expected:
            yield f"new      {name}"
        elif expected[name] != found[name]:
            yield f"differs  {name}"


if __name__ == "__main__":
    sys.exit(main())
