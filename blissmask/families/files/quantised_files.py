"""Refuse weights that are quantised for inference, by the name of their format, and what holds no weights at all.

Needs no torch: a plan can do it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from blissmask.errors import ModelError
from blissmask.families.files.safetensors_header import SafetensorsHeader, StoredEntry, is_safetensors, read_header
from blissmask.storage.ordinary import open_ordinary

_READABLE_FORMATS = frozenset({"float8_e4m3fn", "float8_e5m2"})
"""ComfyUI's names of the formats that we read: fp8 with a scale."""
_COMFY_FORMAT = ".comfy_quant"
"""ComfyUI 0.33 keeps the format of a layer as JSON in a tensor beside its weight, older files in the metadata."""
_COMFY_METADATA = "_quantization_metadata"
_MOST_BYTES = 4096
"""Of the JSON of one layer; ComfyUI writes some 30."""
_MARKS = (
    (".quant_state.bitsandbytes__nf4", "bitsandbytes nf4"),
    (".quant_state.bitsandbytes__fp4", "bitsandbytes fp4"),
    (".SCB", "bitsandbytes int8"),
    (".weight_scale_2", "nvfp4"),
    (".wscales", "SVDQuant (Nunchaku)"),
    (".qzeros", "GPTQ or AWQ"),
)
"""Endings of names that only files of one format have. Sources: bitsandbytes, ComfyUI, Nunchaku, AutoGPTQ."""
_BY_DTYPE = {"I8": "int8", "U8": "4-bit", "F4": "fp4", "F8_E8M0": "mxfp8"}
"""Formats of weights by the dtype in which they are stored, where nothing else names them."""


def refuse_quantised_file(path: Path) -> None:
    """Raise ModelError when a single file is quantised for inference, or holds no weights.

    Folders and missing files are let pass. Reads the header alone, and raises ModelError, too, when that of a
    safetensors file is damaged.
    """
    try:
        with open_ordinary(path) as file:
            head = file.read(16)
    except OSError:
        # Whoever reads the file says what is wrong with it.
        return
    if is_gguf(head):
        raise gguf_refusal(path)
    if is_safetensors(head):
        refuse_quantised(read_header(path))
    else:
        refuse_all_but_pickles(head, path)


def refuse_all_but_pickles(head: bytes, path: Path) -> None:
    """Raise ModelError unless the first bytes of a file are those of a PyTorch file, which is a pickle or a ZIP."""
    if head.startswith((b"PK", b"\x80")):
        return
    if not head:
        raise ModelError("the model file is empty", where=[path], fix="download or copy it again")
    if head.startswith(b"version https://"):
        what, fix = "a note of Git LFS in the place of the model file", "fetch the file itself: `git lfs pull`"
        raise ModelError(what, where=[path], fix=fix)
    fix = "download it again; an HTML page saved by mistake looks like this"
    raise ModelError("neither safetensors nor a PyTorch file", where=[path], fix=fix)


def is_gguf(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a GGUF file."""
    return head[:4] == b"GGUF"


def gguf_refusal(path: Path) -> ModelError:
    """Return the error for a GGUF file."""
    return _refusal(path, "GGUF")


def refuse_quantised(header: SafetensorsHeader) -> None:
    """Raise ModelError when a file's weights are in a format that has no gradients here; name the format."""
    found = next(_formats(header), None)
    if found is not None:
        raise _refusal(header.file.path, found)


def _refusal(path: Path, found: str) -> ModelError:
    fix = "use the bf16, fp16, fp8 or fp8_scaled file of the same model"
    article = "an" if found[0] in "aeiou" else "a"
    return ModelError(f"{path.name} is {article} {found} file, which is for inference only", where=[path], fix=fix)


def _formats(header: SafetensorsHeader) -> Iterator[str]:
    for text in _comfy_texts(header):
        yield from (name for name in _named(text) if name not in _READABLE_FORMATS)
    for name, entry in header.entries.items():
        yield from (label for ending, label in _MARKS if name.endswith(ending))
        if name.endswith(".weight_scale") and _is_mx_scale(entry):
            yield "mxfp8"
    for name, entry in header.entries.items():
        if name.endswith(".weight") and entry.dtype in _BY_DTYPE:
            yield _BY_DTYPE[entry.dtype]


def _is_mx_scale(scale: StoredEntry) -> bool:
    """Return whether a scale is a power of two in eight bits, one for a block of numbers: the mark of mx formats."""
    return scale.dtype in ("F8_E8M0", "U8") and len(scale.shape) == 2


def _comfy_texts(header: SafetensorsHeader) -> Iterator[str]:
    yield header.metadata.get(_COMFY_METADATA, "{}")
    for name, entry in header.entries.items():
        if name.endswith(_COMFY_FORMAT) and entry.size <= _MOST_BYTES:
            content = bytearray(entry.size)
            header.read_into(entry, memoryview(content))
            yield content.decode("utf-8", errors="replace")


def _named(text: str) -> Iterable[str]:
    """Return every ``format`` in a JSON text, of one layer or of several under ``layers``; none in a broken text."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(table, dict):
        return []
    layers = table.get("layers")
    tables = [table, *(layers.values() if isinstance(layers, dict) else [])]
    formats = [entry.get("format") for entry in tables if isinstance(entry, dict)]
    return [name for name in formats if isinstance(name, str)]
