"""Caching with each group of options that is the same for all families."""

from __future__ import annotations

import json
from pathlib import Path

from tests.sameness.families import SIZE, model
from tests.sameness.inputs import draw_clip, draw_mask, draw_photo, lay_out, photo, write
from tests.sameness.scene import Scene
from tests.sameness.tasks import Task

CACHE_OPTIONS = {
    "buckets": "--enable-bucket --image-directory photos --mask-directory masks",
    "no-upscale": "--enable-bucket --bucket-no-upscale --image-directory small",
    "sd-buckets": "--enable-bucket --min-bucket-reso 32 --max-bucket-reso 128 --image-directory small",
    "shuffled": "--shuffle-caption --keep-tokens 1 --image-directory photos --text-only",
    "latents": "--latents-only --image-directory photos --mask-directory masks",
    "default-mask": "--image-directory rgba --default-mask default.png",
    "misfit": "--image-directory photos --mask-directory masks --default-mask default.png",
    "inverted": "--image-directory photos --mask-directory masks --invert-mask",
    "alpha": "--image-directory rgba --alpha-mask --require-mask",
    "required": "--image-directory photos --mask-directory masks --require-mask",
    "empty": "--image-directory photos --mask-directory empty_masks",
    "empty-full": "--image-directory photos --mask-directory empty_masks --empty-mask full",
    "empty-error": "--image-directory photos --mask-directory empty_masks --empty-mask error",
    "sheet-html": "--image-directory photos --mask-directory masks --sheet sheet.html",
    "sheet-png": "--image-directory photos --mask-directory masks --sheet sheet.png",
    "listed": "--image-jsonl-file photos.jsonl --mask-directory masks",
    "half-vae": "--image-directory photos --vae-dtype bfloat16",
    "verify": "--image-directory photos --mask-directory masks --verify",
    "chunks": "--video-directory clips --target-frames 5 --frame-extraction chunk --mask-directory clip_masks",
    "slides": "--video-directory clips --target-frames 5 --frame-extraction slide --frame-stride 3",
    "uniform": "--video-directory clips --target-frames 5,1 --frame-extraction uniform --frame-sample 2",
    "full": "--video-directory clips --frame-extraction full --max-frames 9 --source-fps 24",
    "static": "--video-directory clips --target-frames 5 --mask-directory static_masks",
}


def cache_options_scene(scene: Scene, task: Task) -> None:
    """Cache once with each group of options that is the same for all families."""
    from PIL import Image

    lay_out(task)
    draw_clip(Path("clips/long.avi"), 21)
    write("clips/long.txt", "a long clip")
    draw_photo(Path("photos/wide.png"), 5, (200, 80))
    write("photos/wide.txt", "kyla, a wide photo, a wall")
    draw_photo(Path("small/a.png"), 6, (70, 50))
    write("small/a.txt", "kyla")
    draw_mask(Path("default.png"), share=0.9)
    draw_mask(Path("masks/orphan.png"))
    draw_mask(Path("empty_masks/a.png"), share=0.0)
    draw_mask(Path("static_masks/walk.png"), share=0.4)
    for stem in ("a", "b"):
        draw_mask(Path(f"rgba/{stem}.png"), share=0.6)
        picture = Image.fromarray(photo(3, (128, 96))).convert("RGBA")
        picture.putalpha(Image.open(f"rgba/{stem}.png"))
        picture.save(f"rgba/{stem}.png")
        write(f"rgba/{stem}.txt", "kyla")
    rows = [
        {"image_path": "photos/a.png", "caption": "listed a"},
        {"image_path": "photos/c.png", "caption": "listed c"},
    ]
    write("photos.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    scene.settle()
    for name, options in CACHE_OPTIONS.items():
        scene.plan_and_run(name, f"cache {model(task)} --cache-directory cache-{name} {SIZE} {options}")
    # What becomes stale, and what is done about it.
    draw_mask(Path("masks/a.png"), share=0.7)
    write("photos/c.txt", "another caption")
    Path("photos/b.jpg").unlink()
    scene.settle()
    line = f"cache {model(task)} --cache-directory cache-buckets {SIZE} {CACHE_OPTIONS['buckets']}"
    scene.plan_and_run("stale", line)
    scene.plan_and_run("forced", f"{line} --force")
