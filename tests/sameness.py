"""Fingerprint what the commands make, so that two versions of the code can be compared.

A change that should change nothing is proved by running this before and after it:

    python -m tests.sameness > before.txt           # ... change the code ...
    python -m tests.sameness --compare before.txt   # names what differs, and exits with 1

Every line is ``NAME  HASH``: a file that a command wrote, or what it printed. The first part of a name is the scene,
``FAMILY/TASK`` or ``masks``: a series of command lines in a folder of its own. ``--details FOLDER`` writes what was hashed as
text, so that ``diff -r`` of two such folders explains a difference. Pictures and clips are drawn here, model classes
are miniatures (``--model tiny``), everything runs on one CPU thread.

Masked before hashing: the folder, times and durations, the version, and amounts of free memory. Hashes of tensors and
pictures hold for one machine and one set of installed libraries only, so the listing is not kept in the repository.

Miniatures are built in memory. How model files are read, under every name that others give to layers, is covered with
``--models FOLDER``: files that an earlier version wrote, so that they stay the same when the code that names layers
changes.

The product is driven through its command line alone; what else is asked of it is in :func:`families`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TextIO

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
MOMENT_NS = 1_700_000_000_000_000_000
"""Modification time of every input: caches and masks record it."""
SIZE_WH = (96, 64)
"""Training size; a multiple of every family's grid."""


# What the product makes


@dataclass(frozen=True)
class Task:
    """A task of a model family, and what its data set needs.

    Attributes:
        family, name: values of ``--arch`` and ``--task``.
        clip_frames: frames of a clip that has two latent frames; 0 where the family makes pictures only.
        controls: fewest and most control pictures of an item.
        experts: names of the denoisers where there are several.
        one_frame: whether one-frame training works with it.
        preview_picture: option of a prompt that names the picture it starts from; empty where there is none.
    """

    family: str
    name: str
    clip_frames: int
    controls: tuple[int, int]
    experts: tuple[str, ...]
    one_frame: bool
    preview_picture: str


def families() -> list[Task]:
    """Return every task of every family of the registry. The only place that imports more than the command line."""
    from blissmask.families.registry import FAMILIES, load_family

    tasks = []
    for name in FAMILIES.names():
        for task_name, task in load_family(name).tasks.items():
            family = load_family(name).for_task(task_name)
            option = "ci" if task.text_sees_controls else "i"
            tasks.append(
                Task(
                    name,
                    task_name,
                    clip_frames=family.latent.temporal_stride + 1 if task.takes_videos else 0,
                    controls=task.control_range,
                    experts=tuple(expert.name for expert in task.experts if expert.name),
                    one_frame=task.one_frame,
                    preview_picture=option if family.preview_pipeline().pictures[1] else "",
                )
            )
    return tasks


# A scene: command lines in a folder, and what they leave behind


@dataclass
class Scene:
    """Runs commands in the working folder and fingerprints what they print and write.

    Attributes:
        name: first part of every fingerprint's name.
        details: folder for the text of what was hashed; None for no such text.
        prints: name -> hash.
        ended: name of a command -> its exit code, where that was not 0.
    """

    name: str
    details: Path | None
    prints: dict[str, str] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    _seen: dict[Path, str] = field(default_factory=dict)

    def run(self, name: str, line: str) -> None:
        """Run ``blissmask LINE`` in this process; fingerprint both streams, and files that are new or changed."""
        code, out, err = _call_main(shlex.split(line))
        if code:
            self.ended[name] = code
        self._add(f"{name}/out", f"$ blissmask {line}\nexit code {code}\n{masked(out)}")
        if err:
            self._add(f"{name}/err", masked(err))
        self._files(name)

    def plan_and_run(self, name: str, line: str) -> None:
        """Run with ``--dry-run`` as text and as JSON, then in earnest, then as JSON what a second run would do."""
        self.run(f"{name}/plan", f"{line} --dry-run --verbose")
        self.run(f"{name}/plan-json", f"{line} --dry-run --json")
        self.run(name, line)
        self.run(f"{name}/again-json", f"{line} --json")

    def settle(self) -> None:
        """Take every file that is there as an input: give it the same time on every run, and no fingerprint."""
        for path in _files_below(Path()):
            os.utime(path, ns=(MOMENT_NS, MOMENT_NS))
            self._seen[path] = _hash(path.read_bytes())

    def _files(self, name: str) -> None:
        for path in _files_below(Path()):
            content = _hash(path.read_bytes())
            if self._seen.get(path) == content:
                continue
            self._seen[path] = content
            described, blob = describe(path)
            shown = re.sub(r"events\.out\.tfevents.*", "events.out.tfevents", path.as_posix())
            self._add(f"{name}/{shown}", described, blob)
        self.settle()

    def _add(self, name: str, text: str, blob: bytes = b"") -> None:
        """Keep the hash of ``text`` and ``blob``; only the text goes into the details."""
        name = f"{self.name}/{name}"
        assert name not in self.prints, name
        self.prints[name] = _hash(text.encode(errors="surrogateescape") + b"\0" + blob)
        if self.details is not None:
            path = self.details / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _call_main(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Call the command line with both streams in files: libraries in C print, too. Return exit code and both texts."""
    from blissmask.cli.app import main

    sys.argv = ["blissmask", *arguments]
    code = 0
    with _into_file(sys.stdout) as out, _into_file(sys.stderr) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        texts = [_text_of(file) for file in (out, err)]
    return code, texts[0], texts[1]


@contextmanager
def _into_file(stream: TextIO) -> Iterator[IO[bytes]]:
    """Let a stream of this process write into a file for a while."""
    stream.flush()
    descriptor = stream.fileno()
    kept = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        try:
            yield file
        finally:
            stream.flush()
            os.dup2(kept, descriptor)
            os.close(kept)


def _text_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".blissmask.lock"))


# What is hashed of a text and of a file

_VARYING = (
    (re.compile(r'("seconds": )[\d.e+-]+'), r"\1#"),
    (re.compile(r"\d+(\.\d+)? s\b(?! each)|\d+ min \d+ s"), "# s"),
    (re.compile(r"\d+:\d\d  \d+(\.\d+)?/s"), "#:##  #/s"),
    (re.compile(r"^(\w[\w ]*) \d+/\d+  #:##  .*\n(?=\1 \d)", re.MULTILINE), ""),
    (re.compile(r"process \d+ on \S+, started [\d :-]+"), "process # on HOST, started TIME"),
    (re.compile(r"\bblissmask \d+(\.\d+)+\S*"), "blissmask VERSION"),
    (re.compile(r"\d+(\.\d+)? [KMGT]i?B(?= (\w+ ){0,4}free)"), "# GB"),
    (re.compile(re.escape(tempfile.gettempdir()) + r"/blissmask-\w+\.log"), "TEMP/blissmask-#.log"),
)


def masked(text: str) -> str:
    """Replace what differs from run to run: folders, times, the version, free memory. Trailing spaces go."""
    for folder, word in ((Path("models").resolve(), "MODELS"), (Path.cwd(), "FOLDER"), (REPOSITORY, "REPOSITORY")):
        text = text.replace(str(folder), word)
    for pattern, shown in _VARYING:
        text = pattern.sub(shown, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def describe(path: Path) -> tuple[str, bytes]:
    """Return what a file holds as text, and the bytes that the text only sums up."""
    if path.suffix == ".safetensors":
        return _describe_tensors(path.read_bytes())
    if path.suffix in (".json", ".jsonl", ".html", ".txt", ".toml", ".svg"):
        return masked(path.read_text(encoding="utf-8")), b""
    if ".tfevents." in path.name:
        return _describe_events(path), b""
    content = path.read_bytes()
    if path.suffix == ".png":
        return _describe_picture(path), content
    return f"{len(content)} bytes, {_hash(content)}\n", content


def _describe_tensors(content: bytes) -> tuple[str, bytes]:
    """Return header and one line per tensor in the file's own order, and the bytes of the tensors."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    lines = [f"{key}: {value}\n" for key, value in header.pop("__metadata__", {}).items()]
    for key, tensor in header.items():
        begin, end = tensor["data_offsets"]
        part = data[begin:end]
        kind, shape = tensor["dtype"], tensor["shape"]
        lines.append(f"{key}  {kind} {shape} @{begin} {_hash(part)}{_numbers(part, kind)}\n")
    return masked("".join(lines)), data


def _numbers(part: bytes, dtype: str) -> str:
    """Return mean, spread and the first values, to see how far apart two tensors are."""
    kinds = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8}
    if dtype == "BF16":
        values = (np.frombuffer(part, np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif dtype in kinds:
        values = np.frombuffer(part, kinds[dtype])
    else:
        return ""
    if not values.size:
        return "  empty"
    exact = values.astype(np.float64)
    first = " ".join(f"{value:.9g}" for value in exact[:4])
    return f"  mean {exact.mean():.9g} std {exact.std():.9g}  {first}"


def _describe_events(path: Path) -> str:
    """Return what TensorBoard shows, without the clock."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    lines = []
    for event in EventFileLoader(str(path)).Load():
        lines.extend(f"{event.step} {value.tag} {list(value.tensor.float_val)}\n" for value in event.summary.value)
    return "".join(lines)


def _describe_picture(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture)
        shown = f"{picture.mode} {picture.size} pixels {_hash(pixels.tobytes())} mean {pixels.mean():.9g}\n"
        return masked(shown + "".join(f"{key}: {value}\n" for key, value in picture.info.items()))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


# Inputs


def draw_photo(path: Path, seed: int, size_wh: tuple[int, int] = (128, 96)) -> None:
    """Write a smooth picture with a little noise; ``seed`` decides its colours."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_photo(seed, size_wh)).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))


def _photo(seed: int, size_wh: tuple[int, int]) -> np.ndarray:
    width, height = size_wh
    noise = np.random.default_rng(seed).integers(0, 64, (height, width, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = np.stack([rows * (2 + seed % 3), columns * (1 + seed % 5), (rows + columns) * 2], axis=2)
    return ((slopes + noise) % 256).astype(np.uint8)


def draw_mask(path: Path, size_wh: tuple[int, int] = (128, 96), *, share: float = 0.5) -> None:
    """Write a lopsided mask with the four tiers; ``share`` of the width is not background."""
    from PIL import Image

    width, height = size_wh
    grey, left = np.zeros((height, width), np.uint8), round(width * share)
    grey[: height // 4, :left] = 80
    grey[height // 4 : height // 2, : left - 5] = 255
    grey[height // 2 :, :left] = 128
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)


def draw_clip(path: Path, frames: int, size_wh: tuple[int, int] = (128, 96)) -> None:
    """Write a lossless clip."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 16.0, size_wh)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(_photo(number, size_wh))
    writer.release()


def write(path: str, text: str) -> None:
    """Write a small text file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


CAPTIONS = {"a": "a photo of kyla", "b": 'kyla, smiling; says "hello" to the crowd', "c": "a garden, kyla, trees"}


def lay_out(task: Task) -> None:
    """Write photos, masks, controls and a clip: ``a`` and ``b`` have a mask, ``c`` has none."""
    for seed, (stem, caption) in enumerate(CAPTIONS.items()):
        draw_photo(Path(f"photos/{stem}.{'jpg' if stem == 'b' else 'png'}"), seed)
        write(f"photos/{stem}.txt", caption)
        for number in range(task.controls[0]):
            draw_photo(Path(f"controls/{stem}_{number}.png"), 10 + seed + number, (96 + 16 * seed, 96))
    if task.controls[1] > task.controls[0] > 0:
        draw_photo(Path(f"controls/b_{task.controls[0]}.png"), 30, (160, 96))
    draw_mask(Path("masks/a.png"))
    draw_mask(Path("masks/b.png"), share=0.3)
    if task.clip_frames:
        draw_clip(Path("clips/walk.avi"), task.clip_frames + 2)
        write("clips/walk.txt", "kyla walks")
        for number in range(task.clip_frames + 2):
            draw_mask(Path(f"clip_masks/walk/{number:06}.png"), share=0.2 + number * 0.1)


# Scenes

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


TRAINING_OPTIONS = {
    "plain": "",
    "masks-only": "--use-mask-loss",
    "preset-person": "--mask-preset person",
    "preset-face": "--mask-preset face",
    "preset-style": "--mask-preset style",
    "preset-person-prior": "--mask-preset person-prior",
    "preset-face-prior": "--mask-preset face-prior",
    "mean-sample": f"{MASK_LOSS} --mask-mean sample --batch-size 2",
    "mean-global": f"{MASK_LOSS} --mask-mean global --gradient-accumulation-steps 2",
    "pixel": f"{MASK_LOSS} --mask-transform pixel",
    "tiers": "--use-mask-loss --face-weight 0.9 --body-weight 0.4 --hair-weight 0.5 --background-weight 0.1",
    "feather": "--use-mask-loss --mask-feather 0.7 --mask-area-beta 0.5",
    "unmasked": "--use-mask-loss --unmasked-probability 0.5",
    "prior": "--use-mask-loss --prior-preservation-weight 1 --prior-mask-threshold 0.4",
    "prior-decay": f"{MASK_LOSS} --prior-min-timestep 300 --prior-decay cosine",
    "huber": "--loss-type huber --huber-delta 0.5",
    "validation": "--use-mask-loss --validation-split 0.3 --validate-every-n-steps 2",
    "epochs": "--max-train-epochs 2 --num-repeats 2 --save-every-n-epochs 1",
    "checkpointing": "--gradient-checkpointing --blocks-to-swap 1",
    "int8": "--int8-base",
    "fp8": "--fp8-base",
    "bfloat16": "--dit-dtype bfloat16 --save-precision bfloat16",
    "half-file": "--save-precision float16 --no-metadata",
    "memory-auto": "--memory auto",
    "dropout": "--network-dropout 0.3",
    "norms": "--scale-weight-norms 0.01 --use-rslora --network-alpha 1",
    "dora": "--use-dora --lora-format diffusers",
    "patterns": "--include-patterns .*ffn.* --exclude-patterns .*attn2.*",
    "lokr-factor": "--network-type lokr --lokr-factor 4",
    "start": "--network-weights out/plain.safetensors",
    "sgd": "--optimizer-type torch.optim.SGD --optimizer-args momentum=0.9 nesterov=True",
    "adafactor": "--optimizer-type adafactor",
    "prodigy": "--optimizer-type prodigy",
    "schedulefree": "--optimizer-type schedulefree --save-every-n-steps 2",
    "loraplus": "--loraplus-lr-ratio 4 --weight-decay 0.1 --max-grad-norm 0.01",
    "cosine": "--lr-scheduler cosine --lr-warmup-steps 1",
    "restarts": "--lr-scheduler cosine_with_restarts --lr-scheduler-num-cycles 2",
    "min-lr": "--lr-scheduler cosine_with_min_lr --lr-scheduler-min-lr-ratio 0.1",
    "polynomial": "--lr-scheduler polynomial --lr-scheduler-power 2",
    "decay": "--lr-scheduler warmup_stable_decay --lr-warmup-steps 25% --lr-decay-steps 0.5",
    "uniform": "--timestep-sampling uniform --min-timestep 200 --max-timestep 800",
    "sigmoid": "--timestep-sampling sigmoid --sigmoid-scale 1.5",
    "shift": "--timestep-sampling shift --discrete-flow-shift 5 --preserve-distribution-shape --min-timestep 500",
    "flux-shift": "--timestep-sampling flux_shift",
    "qwen-shift": "--timestep-sampling qwen_shift --num-timestep-buckets 4",
    "logsnr": "--timestep-sampling logsnr --logit-mean 0.5 --logit-std 1.5",
    "sigma-sqrt": "--weighting-scheme sigma_sqrt",
    "cosmap": "--weighting-scheme cosmap",
    "seed": "--seed 7",
    "tensorboard": "--use-mask-loss --log-with tensorboard --logging-dir board",
    "metadata": "--training-comment hello --metadata-title T --metadata-author A --metadata-tags x,y",
    "more-metadata": "--metadata-description D --metadata-license L",
    "compile": "--compile --compile-backend eager",
    "unknown-optimizer": "--optimizer-type nothing.Such",
    "wrong-shapes": "--network-dim 3 --network-weights out/plain.safetensors",
}


def training_options_scene(scene: Scene, task: Task) -> None:
    """Train once with each group of options that is the same for all families."""
    lay_out(task)
    scene.settle()
    scene.run("cache", cache_photos(task))
    train = f"train {model(task)} --cache-directory cache --output-dir out {STEPS}"
    for name, options in TRAINING_OPTIONS.items():
        scene.run(name, f"{train} --output-name {name} --save-every-n-steps 3 {options}")
    longer = f"{train} --output-name longer --seed 3"
    scene.run("resume/half", f"{longer} --save-every-n-steps 2 --max-train-steps 2")
    scene.run("resume/rest", f"{longer} --save-every-n-steps 2 --max-train-steps 5")
    scene.run("resume/anew", f"{longer} --no-resume --max-train-steps 1")
    subset = '[[prompt.subset]]\nprompt = "kyla"\nseed = 3\n[[prompt.subset]]\nprompt = "trees"\ncfg_scale = 1.0\n'
    write("prompts.toml", f"[prompt]\nwidth = 64\nheight = 32\nsample_steps = 2\n{subset}")
    write(
        "prompts.json",
        json.dumps([{"prompt": "kyla", "frame_count": 5, "sample_steps": 1}, "trees --w 64 --h 64 --s 1"]),
    )
    scene.settle()
    for kind in ("toml", "json"):
        previews = f"--sample-prompts prompts.{kind} --sample-every-n-epochs 1 --sample-at-first --network-dropout 0.5"
        scene.run(f"previews-{kind}", f"{train} --output-name previews-{kind} {previews}")
    for other in ("onetrainer", "sd-scripts", "ai-toolkit"):
        scene.run(f"like/{other}", f"train --like {other}")
        scene.run(f"like/{other}-json", f"train --like {other} --json")


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
        picture = Image.fromarray(_photo(3, (128, 96))).convert("RGBA")
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
        draw_clip(folder / "clips" / "clip001.avi", 20)
        write(f"{folder}/clips/clip001.txt", "Kyla walks")
        write(f"{folder}/prompts.txt", "Kyla in a garden --w 64 --h 64 --s 2\n")
        for kind in ("targets", "controls"):
            draw_photo(folder / kind / "one.png", 1, (64, 64))
        write(f"{folder}/targets/one.txt", "Kyla turns")
        text = path.read_text(encoding="utf-8")
        commands = [" ".join(line.split()) for line in command.findall(text)]
        if not commands[0].startswith("masks"):
            draw_mask(folder / "masks" / "one.png", (64, 64))
            draw_mask(folder / "masks" / "eileen-close.png", (352, 440))
            draw_mask(folder / "masks" / "eileen-and-photographer.png", (960, 480))
        text = re.sub(r"^(arch = .*)$", r'\1\nmodel = "tiny"\ndevice = "cpu"', files.sub("", text), flags=re.MULTILINE)
        text = re.sub(r"^resolution = .*$", "resolution = [64, 64]", text, flags=re.MULTILINE)
        text = re.sub(r"^(max_train_steps|sample_at_first) = .*\n", "", text, flags=re.MULTILINE)
        write(f"{folder}/{path.name}", text.replace("[train]\n", "[train]\nmax_train_steps = 2\n"))
        scene.settle()
        start = Path.cwd()
        os.chdir(folder)
        for number, line in enumerate(commands):
            scene.run(f"{path.stem}/{number}-{line.split()[0]}", f"{line} --no-progress --jobs 1")
        os.chdir(start)


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


# Running


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
