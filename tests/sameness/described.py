"""What is hashed of a text and of a file: all that does not differ from run to run."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]

_VARYING = (
    (re.compile(r'("(?:seconds|time)": )[\d.e+-]+'), r"\1#"),
    (re.compile(r"\d+(\.\d+)? s\b(?! each)|\d+ min \d+ s"), "# s"),
    (re.compile(r"\d+:\d\d  \d+(\.\d+)?/s"), "#:##  #/s"),
    (re.compile(r"^(\w[\w ]*) \d+/\d+  #:##  .*\n(?=\1 \d)", re.MULTILINE), ""),
    (re.compile(r"process \d+ on \S+, started [\d :-]+"), "process # on HOST, started TIME"),
    (re.compile(r"\bblissmask \d+(\.\d+)+\S*"), "blissmask VERSION"),
    (re.compile(r"\d+(\.\d+)? [KMGT]i?B(?= (\w+ ){0,4}free)"), "# GB"),
    # A page names the moment of its picture, so that a browser draws it anew.
    (re.compile(r"\.png\?\d+"), ".png?#"),
    (re.compile(r"Drawn \d{4}-\d\d-\d\d \d\d:\d\d"), "Drawn #"),
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
    return f"{len(content)} bytes, {digest(content)}\n", content


def _describe_tensors(content: bytes) -> tuple[str, bytes]:
    """Return header and one line per tensor in the file's own order, and the bytes of the tensors."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    lines = [f"{key}: {value}\n" for key, value in header.pop("__metadata__", {}).items()]
    for key, tensor in header.items():
        begin, end = tensor["data_offsets"]
        part = data[begin:end]
        kind, shape = tensor["dtype"], tensor["shape"]
        lines.append(f"{key}  {kind} {shape} @{begin} {digest(part)}{_numbers(part, kind)}\n")
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
        shown = f"{picture.mode} {picture.size} pixels {digest(pixels.tobytes())} mean {pixels.mean():.9g}\n"
        return masked(shown + "".join(f"{key}: {value}\n" for key, value in picture.info.items()))


def digest(content: bytes) -> str:
    """Return the fingerprint of bytes."""
    return hashlib.sha256(content).hexdigest()[:16]
