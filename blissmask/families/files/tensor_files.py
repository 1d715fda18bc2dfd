"""Open model files: safetensors or PyTorch's own, prefix-free and de-quantised, and read only what is asked for.

A file is told by its first bytes, never by its name. A tensor is read when a model asks for it, so the decoder half of
a VAE and the vision half of a text encoder cost nothing. The names and shapes of safetensors need no torch, so that a
plan can look at them; those of PyTorch's own files do. Nothing in a file is ever executed.
"""

from __future__ import annotations

import functools
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.errors import MachineError, ModelError, first_line
from blissmask.families.files.quantised_files import gguf_refusal, is_gguf, refuse_all_but_pickles, refuse_quantised
from blissmask.families.files.safetensors_header import is_safetensors, read_header
from blissmask.families.files.stored_tensors import StoredTensor, Tensors
from blissmask.families.files.unchanged_file import UnchangedFile, unchanged_file
from blissmask.storage.near_miss import near_miss
from blissmask.storage.ordinary import open_ordinary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# What ComfyUI, data-parallel training and repackers put before every name of a file that holds one model.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "module.")
_WRAPPER = "model."
# Training frameworks nest the weights in a table of this name.
_NESTS = ("state_dict", "model", "module")
# Bookkeeping of fp8_scaled files, and the tokenizer inside a text encoder; no weights.
_MARKERS = frozenset({"scaled_fp8", "spiece_model"})
_WEIGHT_SCALES = ("scale_weight", "weight_scale")
_BOOKKEEPING = ("scale_weight", "weight_scale", "scale_input", "input_scale", "comfy_quant")
_FLOAT8 = frozenset({"float8_e4m3fn", "float8_e5m2"})
# What we read of the safetensors format's dtypes: its names, and torch's.
_DTYPES = {
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "BOOL": "bool",
}
_READABLE = frozenset(_DTYPES.values()) - _FLOAT8
_COPY_AGAIN = "download or copy it again"


def open_checkpoint(path: Path) -> Tensors:
    """Return the tensors of a model file by name, without the prefixes of repackers.

    Reads ``.safetensors``, and PyTorch files that hold nothing but tensors. fp8 and fp8_scaled weights (ComfyUI's
    ``scale_weight`` and ``weight_scale``, per tensor, per row or per block of a row) come back multiplied by their
    scales.

    Raises:
        ModelError: no such file; truncated or foreign; a pickle that asks to import something; a quantisation we cannot
            undo.
    """
    shapes, read = _open(path)
    tensors: Tensors = {}
    for stored, name in _plain_names(shapes).items():
        if name in _MARKERS or name.rpartition(".")[2] in (*_BOOKKEEPING, *_MARKERS):
            continue
        scale = next((s for key in _WEIGHT_SCALES if (s := f"{stored.removesuffix('weight')}{key}") in shapes), None)
        tensors[name] = StoredTensor(shapes[stored], _reader(path, read, stored, scale))
    if not tensors:
        raise ModelError("the model file holds no tensors", where=[path])
    return tensors


def embedded_sentencepiece(path: Path) -> bytes | None:
    """Return the SentencePiece model that ComfyUI's UMT5 files carry as a tensor, or None when the file has none."""
    shapes, read = _open(path)
    if "spiece_model" not in shapes:
        return None
    return bytes(read("spiece_model").byte().tolist())


def _plain_names(stored: Iterable[str]) -> dict[str, str]:
    """Return stored name -> name without the prefixes of repackers."""
    names = {name: _without_prefix(name) for name in stored}
    # ComfyUI puts a wrapper's name before all names of a model that it saves again, once or twice.
    while names and all(name.startswith(_WRAPPER) for name in names.values()):
        names = {key: name.removeprefix(_WRAPPER) for key, name in names.items()}
    return names


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _reader(path: Path, read: Callable[[str], Tensor], stored: str, scale: str | None) -> Callable[[], Tensor]:
    def tensor() -> Tensor:
        value = read(stored)
        dtype = _name_of(value.dtype)
        if dtype in _FLOAT8:
            value = value.float()
            return value if scale is None else _scaled(path, stored, value, read(scale).float())
        if dtype not in _READABLE:
            raise _foreign_dtype(path, stored, dtype)
        return value

    return tensor


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _foreign_dtype(path: Path, name: str, dtype: str) -> ModelError:
    return ModelError(
        f"`{name}` is stored as {dtype}, a quantisation blissmask cannot undo",
        where=[path],
        fix="use the bf16, fp16, fp8 or fp8_scaled file of the same model",
    )


def _scaled(path: Path, name: str, weight: Tensor, scale: Tensor) -> Tensor:
    """Multiply an fp8 weight by its scale: one number, one per row, or one per block of each row (rows, blocks, 1)."""
    if scale.numel() == 1:
        return weight * scale.reshape(())
    if scale.ndim == 1 and len(scale) == len(weight):
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if scale.ndim == weight.ndim == 2 and scale.shape == (len(weight), 1):
        return weight * scale
    if scale.ndim == 3 and weight.ndim == 2 and len(scale) == len(weight) and weight.shape[1] % scale.shape[1] == 0:
        return (weight.reshape(len(weight), scale.shape[1], -1) * scale).flatten(1)
    raise ModelError(
        f"the fp8 scale of `{name}` has shape {tuple(scale.shape)}, its weight {tuple(weight.shape)}",
        where=[path],
        fix="use the bf16, fp16 or fp8_scaled file of the same model",
    )


def _open(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    """Return the shapes of all stored tensors and a function that reads one."""
    head = _first_bytes(path)
    if is_gguf(head):
        raise gguf_refusal(path)
    if is_safetensors(head):
        return _open_safetensors(path)
    refuse_all_but_pickles(head, path)
    return _open_pickle(path)


def _first_bytes(path: Path) -> bytes:
    try:
        with open_ordinary(path) as file:
            return file.read(16)
    except FileNotFoundError:
        raise ModelError("there is no such model file", where=[path], fix=near_miss(path, same_words=True)) from None
    except IsADirectoryError:
        fix = "name the file in it, or give the folder as `--model`"
        raise ModelError("a model file was expected, this is a folder", where=[path], fix=fix) from None
    except OSError as error:
        raise MachineError(f"the model file cannot be read: {error.strerror}", where=[path]) from error


def _open_safetensors(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    header = read_header(path)
    refuse_quantised(header)

    def read(name: str) -> Tensor:
        import torch

        entry = header.entries[name]
        if entry.dtype not in _DTYPES:
            raise _foreign_dtype(path, name, entry.dtype)
        dtype: torch.dtype = getattr(torch, _DTYPES[entry.dtype])
        if entry.size != math.prod(entry.shape) * dtype.itemsize:
            raise ModelError(f"`{name}` has more or fewer bytes than its shape says", where=[path], fix=_COPY_AGAIN)
        value = torch.empty(entry.shape, dtype=dtype)
        if entry.size:
            header.read_into(entry, value.reshape(-1).view(torch.uint8).numpy().data)
        return value

    return {name: entry.shape for name, entry in header.entries.items()}, read


def _open_pickle(path: Path) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Tensor]]:
    file = unchanged_file(path)
    # Of a ZIP the table of contents alone is read.
    table = _tensor_table(path, _unpickle(path, "meta" if zipfile.is_zipfile(path) else "cpu"))

    @functools.cache
    def whole() -> Mapping[str, Tensor]:
        return _tensor_table(path, _unpickle(path, "cpu"))

    def read(name: str) -> Tensor:
        found = table[name]
        if not found.is_meta:
            return found
        return whole()[name] if _place(found) is None else _from_zip(file, found)

    return {name: tuple(value.shape) for name, value in table.items()}, read


def _place(described: Tensor) -> int | None:
    """Return where the numbers of a storage on the meta device begin in the file, bytes; None when torch does not say.

    Versions before 2.13 may not. torch 2.13 notes it in a private attribute of the storage, made for readers such as
    this one; ``test_a_zip_is_not_read_until_a_tensor_is_asked_for`` fails when it goes.
    """
    place: int | None = getattr(described.untyped_storage(), "_checkpoint_offset", None)
    return place


def _from_zip(file: UnchangedFile, described: Tensor) -> Tensor:
    """Return the tensor of a PyTorch file in zip format that ``described``, on the meta device, tells of."""
    import torch

    place = _place(described)
    # Tensors without one are read with the whole file.
    assert place is not None
    if not described.numel():
        return torch.empty(described.shape, dtype=described.dtype)
    # A view is a piece of the numbers of its storage.
    count = 1 + sum((size - 1) * step for size, step in zip(described.shape, described.stride(), strict=True))
    begin = place + int(described.storage_offset()) * described.itemsize
    if begin + count * described.itemsize > file.size:
        raise ModelError("a damaged PyTorch file: it ends too early", where=[file.path], fix=_COPY_AGAIN)
    piece = torch.empty(count, dtype=described.dtype)
    file.read_into(begin, piece.view(torch.uint8).numpy().data)
    return piece.as_strided(described.shape, described.stride()).contiguous()


def _unpickle(path: Path, device: str) -> Any:
    import torch

    # weights_only raises UnpicklingError, which is a plain Exception subclass of a banned module; it is told by name.
    try:
        with open_ordinary(path) as file:
            return torch.load(file, map_location=device, weights_only=True)  # noqa: TID251 (this is its home)
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise _refusal(path, str(error)) from error
        # The reader of damaged files fails in every way there is, down to failed assertions.
        raise ModelError(f"a damaged PyTorch file: {first_line(error)}", where=[path], fix=_COPY_AGAIN) from error


def _refusal(path: Path, message: str) -> ModelError:
    wanted = re.search(r"GLOBAL\s+([\w.]+)", message)
    instead = "use the safetensors file of the same model, or convert it on a machine you can lose"
    asks = f"it asks to import `{wanted[1]}`" if wanted else "it is not a plain table of tensors"
    return ModelError(
        f"refusing to unpickle {path.name}: {asks}",
        where=[path],
        fix=f"a pickle can run code while it is read; {instead}",
    )


def _tensor_table(path: Path, loaded: Any) -> Mapping[str, Tensor]:
    from torch import Tensor

    for nest in _NESTS:
        if isinstance(loaded, dict) and isinstance(loaded.get(nest), dict):
            loaded = loaded[nest]
    tensors = (
        {name: value for name, value in loaded.items() if isinstance(value, Tensor)} if isinstance(loaded, dict) else {}
    )
    if not tensors:
        raise ModelError(
            "the PyTorch file is not a table of tensors", where=[path], fix="use the file that holds the weights"
        )
    return tensors
