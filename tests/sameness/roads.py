"""The whole road, the commands that make masks, and the example configurations."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.sameness.described import REPOSITORY
from tests.sameness.families import STEPS
from tests.sameness.inputs import draw_clip, draw_photo, film, write
from tests.sameness.scene import Scene


def road_scene(scene: Scene) -> None:
    """Go the whole road on the photos of the quickstart, from masks to the LoRA, with its own configuration."""
    quickstart = REPOSITORY / "examples" / "quickstart"
    for name in ("photos", "references"):
        shutil.copytree(quickstart / name, name)
    shutil.copy(quickstart / "blissmask.toml", "blissmask.toml")
    scene.settle()
    for command in ("masks", "instance", "apply", "to-alpha", "cache"):
        sheet = f"--sheet work/{command}.html" if command in ("masks", "instance", "apply", "cache") else ""
        scene.plan_and_run(command, f"{command} {sheet} --jobs 1 --no-progress")
    scene.plan_and_run("train", f"train --device cpu {STEPS}")


def masks_scene(scene: Scene) -> None:
    """Make masks of two more photos and a short clip with the options of the commands that make masks."""
    from PIL import Image

    photos = REPOSITORY / "tests" / "photos"
    Path("photos").mkdir()
    for name in ("astronaut", "coffee"):
        with Image.open(photos / f"{name}.png") as picture:
            picture.convert("RGB").resize((256, 256), Image.Resampling.BOX).save(f"photos/{name}.png")
    shutil.copy(photos / "astronaut.png", "reference.png")
    draw_clip(Path("clips/walk.avi"), 3)
    scene.settle()
    run = "--jobs 1 --no-progress"
    scene.run("explain", "masks --explain")
    scene.run("explain-instance", "instance --explain")
    scene.plan_and_run("masks", f"masks -i photos -o masks --sheet masks.png {run}")
    scene.run(
        "shaped",
        f"masks -i photos -o shaped --grow 3 --feather 2 --min-area 0.01 --face 200 --map clothes=background {run}",
    )
    scene.run("frames", f"masks -i clips -o frames {run}")
    scene.run("static", f"masks -i clips -o static --video-masks static --video-every 2 {run}")
    outputs = "-o subject --review unsure --sheet subject.png"
    scene.plan_and_run("instance", f"instance -i photos -r reference.png {outputs} {run}")
    scene.run("largest", f"instance -i photos -o largest -r reference.png --on-missing largest --force --json {run}")
    scene.run("alone", f"instance -i photos -o alone --on-missing skip {run}")
    scene.plan_and_run("apply", f"apply --weighted-masks masks --instance-masks subject -o applied --grow 2 {run}")
    for missing in ("error", "zero", "copy", "skip"):
        line = f"apply --weighted-masks masks --instance-masks alone -o missing-{missing} --missing {missing} {run}"
        scene.run(f"missing-{missing}", line)
    scene.plan_and_run("to-alpha", f"to-alpha --image-directory photos --mask-directory applied -o rgba {run}")


def examples_scene(scene: Scene) -> None:
    """Run the commands at the head of every example's configuration, with models in miniature."""
    from PIL import Image

    examples = REPOSITORY / "examples"
    files = re.compile(r"^(model|vae|text_encoder\w*|tokenizer\w*|image_encoder|dit\w*) = .*\n", re.MULTILINE)
    command = re.compile(r"^#   blissmask (.*?)(?: {5,}.*)?$", re.MULTILINE)
    starters = REPOSITORY / "blissmask" / "starters"
    for path in sorted(starters.glob("*.toml")):
        folder = Path(path.stem)
        for name in ("eileen-close", "eileen-and-photographer"):
            folder.joinpath("photos").mkdir(parents=True, exist_ok=True)
            shutil.copy(examples / "quickstart" / "photos" / f"{name}.jpg", folder / "photos")
            write(f"{folder}/photos/{name}.txt", "Kyla")
        shutil.copy(examples / "quickstart" / "references" / "eileen.jpg", folder / "kyla.jpg")
        with Image.open(REPOSITORY / "tests" / "photos" / "astronaut.png") as other:
            other.convert("RGB").save(folder / "tom.jpg")
        film(folder / "clips" / "clip001.avi", folder / "photos" / "eileen-close.jpg", 20)
        write(f"{folder}/clips/clip001.txt", "Kyla walks")
        write(f"{folder}/prompts.txt", "Kyla in a garden --w 64 --h 64 --s 2\n")
        draw_photo(folder / "controls" / "one.png", 1, (64, 64))
        (folder / "targets").mkdir()
        shutil.copy(folder / "photos" / "eileen-close.jpg", folder / "targets" / "one.jpg")
        write(f"{folder}/targets/one.txt", "Kyla turns")
        text = path.read_text(encoding="utf-8")
        commands = [" ".join(line.split()) for line in command.findall(text)]
        text = re.sub(r"^(arch = .*)$", r'\1\nmodel = "tiny"\ndevice = "cpu"', files.sub("", text), flags=re.MULTILINE)
        text = re.sub(r"^resolution = .*$", "resolution = [64, 64]", text, flags=re.MULTILINE)
        text = re.sub(r"^(max_train_steps|sample_at_first) = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace('trigger = ""', 'trigger = "Kyla"')
        write(f"{folder}/{path.name}", text.replace("[train]\n", "[train]\nmax_train_steps = 2\n"))
        scene.settle()
        start = Path.cwd()
        os.chdir(folder)
        for number, line in enumerate(commands):
            scene.run(f"{path.stem}/{number}-{line.split()[0]}", f"{line} --no-progress --jobs 1")
        os.chdir(start)
