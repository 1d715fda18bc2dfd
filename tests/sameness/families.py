"""Scenes of a family: cache, train, draw and convert, with miniatures and with model files."""

from __future__ import annotations

from pathlib import Path

from tests.sameness.inputs import CAPTIONS, draw_photo, lay_out, write
from tests.sameness.scene import Scene
from tests.sameness.tasks import Task

SIZE_WH = (96, 64)
"""Training size; a multiple of every family's grid."""
SIZE = f"--resolution {SIZE_WH[0]},{SIZE_WH[1]} --jobs 1 --no-progress"
STEPS = "--max-train-steps 4 --network-dim 2 --learning-rate 1e-2 --no-progress --log-with none"
MASK_LOSS = "--use-mask-loss --mask-gamma 0.7 --mask-min-weight 0.05 --prior-preservation-weight 0.5"
PHOTOS = "--image-directory photos --mask-directory masks"
FORMATS = ("native", "kohya", "diffusers")


def model(task: Task, files: str = "--model tiny") -> str:
    """Return the flags that name the model."""
    return f"--arch {task.family} --task {task.name} {files} --device cpu"


def cache_photos(task: Task, files: str = "--model tiny") -> str:
    """Return the command line that caches the photos."""
    controls = " --control-directory controls" if task.controls[0] else ""
    return f"cache {model(task, files)} {PHOTOS}{controls} --cache-directory cache {SIZE}"


def write_prompts(task: Task) -> None:
    """Write a prompt for a picture, one for a clip where there are clips, and the picture that they start from."""
    if task.preview_picture:
        draw_photo(Path("first frame.png"), 7, (90, 50))
    shown = f" --{task.preview_picture} first frame.png" if task.preview_picture else ""
    clip = f"kyla walks --f {task.clip_frames} --s 1 --d 7{shown}\n" if task.clip_frames else ""
    write("prompts.txt", f'kyla says "hello" --w 64 --h 64 --f 1 --s 2 --n blurred{shown}\n{clip}')


def family_scene(scene: Scene, task: Task) -> None:
    """Cache, train, convert: all that a family does of its own."""
    lay_out(task)
    write_prompts(task)
    scene.settle()
    scene.plan_and_run("cache", cache_photos(task))
    if task.clip_frames:
        clips = f"--video-directory clips --mask-directory clip_masks --target-frames 1,{task.clip_frames} --keep-cache"
        scene.plan_and_run("clips", f"cache {model(task)} {clips} --cache-directory cache {SIZE}")
    train = f"train {model(task)} --cache-directory cache {STEPS} {MASK_LOSS}"
    previews = "--sample-prompts prompts.txt --sample-every-n-steps 4 --save-every-n-steps 2"
    scene.plan_and_run("train", f"{train} --output-dir out --output-name kyla {previews}")
    scene.run("train-json", f"{train} --output-dir out --output-name told --json")
    both = "--expert both --high-noise-share 0.5 --expert-run-length 1" if task.experts else ""
    for expert in task.experts:
        scene.run(f"train-{expert}", f"{train} --output-dir out --output-name kyla-{expert} --expert {expert}")
    for kind in ("lora", "lokr", "loha"):
        for form in FORMATS:
            name = f"{kind}-{form}"
            scene.run(
                name,
                f"{train} {both} --network-type {kind} --lora-format {form} --output-dir lora --output-name {name}",
            )
            convert_all(scene, name, form)


def model_files_scene(scene: Scene, task: Task, models: Path) -> None:
    """Cache, train and draw with model files: each ``NAME.flags`` in the folder of the task names a set of them."""
    lay_out(task)
    write_prompts(task)
    Path("models").symlink_to(models)
    scene.settle()
    for path in sorted(Path("models").glob("*.flags")):
        name, files = path.stem, path.read_text(encoding="utf-8")
        scene.run(f"{name}/cache", f"{cache_photos(task, files)} --force")
        previews = "--sample-prompts prompts.txt --sample-every-n-steps 2 --max-train-steps 2"
        line = f"train {model(task, files)} --cache-directory cache {STEPS} --output-dir out --output-name {name}"
        scene.run(f"{name}/train", f"{line} {previews}")


def convert_all(scene: Scene, name: str, form: str) -> None:
    """Convert the LoRA files called ``name`` into every other format, and back from there."""
    for path in sorted(Path("lora").glob(f"{name}*.safetensors")):
        for other in FORMATS:
            if other == form:
                continue
            scene.run(f"{name}/{path.stem}-to-{other}", _convert(path, other, f"{path.stem}-to-{other}"))
            made = Path(f"converted/{path.stem}-to-{other}.safetensors")
            if made.exists():
                scene.run(f"{name}/{path.stem}-by-{other}", _convert(made, form, f"{path.stem}-by-{other}"))


def _convert(path: Path, form: str, name: str) -> str:
    return f"train --convert-lora {path} --lora-format {form} --output-dir converted --output-name {name}"


def experts_scene(scene: Scene, task: Task) -> None:
    """Train the experts of a family in the ways that only such a family has."""
    lay_out(task)
    scene.settle()
    scene.run("cache", cache_photos(task))
    train = f"train {model(task)} --cache-directory cache --output-dir out {STEPS} {MASK_LOSS} --save-every-n-steps 2"
    for name, options in {
        "both": "--expert both",
        "shared": "--expert both --shared-lora --high-noise-share 0.5 --expert-run-length 1",
        "resting": "--expert both --offload-inactive-dit --high-noise-share 0.25 --expert-run-length 2",
        "lokr": "--expert both --network-type lokr --high-noise-share 0.5",
    }.items():
        scene.plan_and_run(name, f"{train} --output-name {name} {options}")


def one_frame_scene(scene: Scene, task: Task) -> None:
    """Cache and train with a control picture and a target picture as moments of one clip."""
    lay_out(task)
    for seed, stem in enumerate(CAPTIONS):
        draw_photo(Path(f"controls/{stem}.png"), 20 + seed)
    scene.settle()
    one_frame = "--one-frame --fp-1f-clean-indices 0 --fp-1f-target-index 1 --control-directory controls"
    line = f"cache {model(task)} {PHOTOS} --cache-directory cache {SIZE} {one_frame}"
    scene.plan_and_run("cache", line)
    scene.plan_and_run("train", f"train {model(task)} --cache-directory cache --output-dir out {STEPS} {MASK_LOSS}")
