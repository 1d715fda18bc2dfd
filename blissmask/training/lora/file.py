"""LoRA files in the native format. ComfyUI loads them, and most of diffusers' pipelines: layers have original names.

    diffusion_model.blocks.0.self_attn.q.lora_A.weight   (rank, inputs)
    diffusion_model.blocks.0.self_attn.q.lora_B.weight   (outputs, rank)
    diffusion_model.blocks.0.self_attn.q.alpha           ()
    diffusion_model.blocks.0.self_attn.q.dora_scale      (outputs, 1), DoRA only; see below
    diffusion_model.blocks.0.self_attn.q.lokr_w1 ...     LoKr and LoHa: see :mod:`lokr_loha`

diffusers reads a file without alpha with scale 1; a file with alpha is exact in both. The metadata name what was
trained.

**DoRA.** A layer computes with ``m * V / |V|`` for ``V = W + scale * B @ A`` and a trained norm m of each output.
ComfyUI (0.33) divides by ``|W|`` instead. So native and kohya files, which it alone reads with norms, hold
``m * |W| / |V|``: both are then the same layer. The metadata say so, and what is read comes back as m. The diffusers
spelling holds m itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save
from torch import Tensor

from blissmask.cachefile import write
from blissmask.cachefile.metadata import OURS
from blissmask.cachefile.read_file import read_keys, read_metadata, read_tensors
from blissmask.errors import CacheError, ModelError, first_few
from blissmask.plurals import counted, verb
from blissmask.storage.near_miss import near_miss_and
from blissmask.storage.seen import NOTHING_SEEN, Seen
from blissmask.training.lora.formats import (
    NAMED_KEYS,
    LoraFormat,
    is_of_text_encoder,
    split_key,
    to_format,
    to_native,
    without_foreign_beginning,
)
from blissmask.training.lora.formats import NATIVE_PREFIX as PREFIX
from blissmask.training.lora.layers.lora import ADAPTER, Lora
from blissmask.training.lora.lokr_loha import FACTORS, factor_tensors, fill_factors
from blissmask.training.lora.norms import norm_ratio, whole_output_norms
from blissmask.training.lora.peft_files import IN_METADATA, as_diffusers, without_adapter
from blissmask.training.lora.shapes import refuse_impossible

_DIFFERENCES = frozenset({"diff", "diff_b", "set_weight", "w_norm", "b_norm"})
"""ComfyUI's names of what is added to, or put in the place of, a whole weight, bias or norm."""

_PART_OF_SEVERAL = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")
"""How peft and diffusers name the files of one model that is kept in several."""

_MOST_KEY = 1000
"""Characters of a key, which messages show whole; the longest of a real file have some 120."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


DORA_DIVISOR = f"{OURS}dora_divisor"
"""Metadata key of files with DoRA: what readers divide by, ``base`` for the norm of W. Without it that of W + B @ A."""
DIVIDED_BY_BASE = "base"


def lora_tensors(
    lora: Lora, *, dtype: torch.dtype = torch.float32, file_format: LoraFormat = "native"
) -> dict[str, Tensor]:
    """Return the tensors of a file, all under their native names, copied: on a CPU, too, where weights train on.

    Readers multiply by ``alpha / rank``, so alpha is such that this is the scale of the training, whatever its kind.
    With DoRA all processes of a run whose weights are spread call it together.
    """
    if lora.shape.kind != "lora":
        return _factor_tensors(lora, dtype)
    tensors = {}
    alpha = torch.tensor(lora.shape.scaling * lora.shape.rank)
    for name, (a, b) in lora.matrices().items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = a.to("cpu", dtype, copy=True).contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b.to("cpu", dtype, copy=True).contiguous()
        tensors[f"{PREFIX}{name}.alpha"] = alpha.clone()
    for name, norms in _stored_norms(lora, file_format).items():
        tensors[f"{PREFIX}{name}.dora_scale"] = norms.to("cpu", dtype, copy=True).reshape(-1, 1).contiguous()
    return tensors


def _stored_norms(lora: Lora, file_format: LoraFormat) -> dict[str, Tensor]:
    """Return DoRA's norms as the readers of a spelling use them; empty without DoRA."""
    if not lora.shape.dora or file_format == "diffusers":
        return lora.magnitudes()
    ratios = lora.norm_ratios()
    trained = {name: norms.cpu() * ratios[name] for name, norms in lora.magnitudes().items()}
    # Where another part of the same fused layer is adapted, these stand beside it.
    beside = {f"{whole}:{part}" for whole, parts in lora.fused.items() for part, _ in parts}
    return trained | {name: norms for name, norms in lora.plain_norms.items() if name in beside}


@dataclass(frozen=True, slots=True)
class LoraContents:
    """What a LoRA file holds: its tensors under the keys of its spelling, and its metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def lora_contents(
    lora: Lora,
    metadata: Mapping[str, str],
    *,
    precision: str = "float32",
    file_format: LoraFormat = "native",
    native_alpha: bool = True,
) -> LoraContents:
    """Return what a LoRA file holds, copied to the CPU.

    With DoRA all processes of a run whose weights are spread call it together, so it must not be tried again by one.

    Args:
        lora: what to write.
        metadata: strings; DoRA's divisor is added.
        precision: float32, bfloat16 or float16.
        file_format: how the layers are spelled.
        native_alpha: see :class:`blissmask.families.family.Family`.
    """
    native = lora_tensors(lora, dtype=DTYPES[precision], file_format=file_format)
    tensors = to_format(native, file_format, lora.modules(), lora.fused, lora.apart, native_alpha=native_alpha)
    divisor = {DORA_DIVISOR: DIVIDED_BY_BASE} if lora.shape.dora and file_format != "diffusers" else {}
    return LoraContents(tensors, {**metadata, **divisor})


def write_lora(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, seen: Seen = NOTHING_SEEN
) -> None:
    """Publish the tensors of a LoRA file with their hash.

    Metadata that come from another file may hold a hash of that whole file, and a scale that is in B by now. Both are
    left out. ``seen`` is what a plan saw of the files; see ``storage.atomic.publishing``.
    """
    kept = {key: value for key, value in metadata.items() if key not in ("sshs_legacy_hash", IN_METADATA)}
    fix = (
        "train on from an earlier checkpoint with a lower `--learning-rate`; "
        "float16 holds nothing above 65504, bfloat16 does"
    )
    write.save_tensors(path, tensors, {**kept, "sshs_model_hash": _model_hash(tensors)}, fix=fix, seen=seen)


def read_lora(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a LoRA file; the keys of other programs are spelled as one of the three formats has them.

    peft's name of the adapter, as in ``lora_A.default.weight``, is left out, and a scale that peft's configuration
    names is in B; see :mod:`peft_files`. Numbers of 8 bits are bfloat16, which holds them exactly: nothing computes
    with them. Matrices that were saved as convolutions of one cell are matrices.

    Raises ModelError when the file is missing, damaged or not safetensors, or holds nothing, several adapters, no LoRA,
    or more than one; MachineError when it does not fit into memory.
    """
    _refuse_one_of_several(path)
    stored, metadata = _read(path)
    tensors: dict[str, Tensor] = {}
    spelled = without_foreign_beginning([without_adapter(key) for key in stored])
    for key, tensor in stored.items():
        name = spelled[without_adapter(key)]
        if name in tensors:
            fix = "use the adapters apart, each in a file of its own"
            raise ModelError("this file holds several LoRA for the same layers", where=[path, f"`{key}`"], fix=fix)
        tensors[name] = _plain(tensor)
    if not tensors:
        raise ModelError("the LoRA file holds no tensors", where=[path], fix="get the file again, whole")
    _refuse_differences(tensors, path)
    _refuse_text_encoder(tensors, path)
    return as_diffusers(tensors, metadata, path)


def _plain(tensor: Tensor) -> Tensor:
    wide = tensor.to(torch.bfloat16) if tensor.is_floating_point() and tensor.itemsize < 2 else tensor
    is_one_cell = wide.ndim > 2 and all(size == 1 for size in wide.shape[2:])
    return wide.flatten(1) if is_one_cell else wide


def _refuse_one_of_several(path: Path) -> None:
    """Raise ModelError for a file that is one part of a LoRA, by its name: the layers of the others would be lost."""
    found = _PART_OF_SEVERAL.search(path.name)
    if found and int(found[1]) > 1:
        what = f"this is one of {int(found[1])} files of a LoRA, and one file is read"
        fix = "put their tensors into one safetensors file; where it is no part of several, name it otherwise"
        raise ModelError(what, where=[path], fix=fix)


def _is_difference(key: str) -> bool:
    return key.rpartition(".")[2] in _DIFFERENCES


def _refuse_differences(keys: Iterable[str], path: Path) -> None:
    """Raise ModelError when a file changes whole weights or biases: a LoRA has no place for that."""
    found = [key for key in keys if _is_difference(key)]
    if found:
        added = f"{len(found)} of its tensors {verb(len(found), 'is', 'are')}"
        what = f"this file is more than a LoRA: {added} added to whole weights or biases"
        fix = "use it as it is in ComfyUI, which adds them; they can be neither trained on nor converted"
        raise ModelError(what, where=[path, *(f"`{key}`" for key in found[:NAMED_KEYS])], fix=fix)


def _refuse_text_encoder(keys: Iterable[str], path: Path) -> None:
    """Raise ModelError when a file adapts a text encoder, too: the caption's numbers are in the cache, without it."""
    found = [key for key in keys if is_of_text_encoder(key)]
    if found:
        adapts = verb(len(found), "adapts", "adapt")
        what = (
            f"{counted(len(found), 'tensor')} of this LoRA {adapts} a text encoder, and the denoiser's alone are read"
        )
        fix = (
            "use it as it is in a program that reads both, or take a version that was trained without the text encoder"
        )
        raise ModelError(what, where=[path, *first_few([f"`{key}`" for key in found], most=NAMED_KEYS)], fix=fix)


def _refuse_model(keys: Sequence[str], path: Path) -> None:
    """Raise ModelError for a whole model, by its keys: its tensors may be more than fits into memory."""
    if keys and not any("lora" in key.lower() or split_key(key)[1] or _is_difference(key) for key in keys):
        fix = "name a LoRA file here; the file of a model belongs to `dit`, `vae` or `text_encoder`"
        raise ModelError(
            "this file is no LoRA: none of its keys names a part of one",
            where=[path, *(f"`{key}`" for key in keys[:NAMED_KEYS])],
            fix=fix,
        )


def refuse_unreadable(path: Path) -> None:
    """Raise ModelError when a file is missing, damaged or no LoRA, by its header: its tensors are not read."""
    with _telling_of_the_file(path):
        keys = read_keys(path)
    longest = max(map(len, keys), default=0)
    if longest > _MOST_KEY:
        fix = "get the file again, whole"
        raise ModelError(f"a key of this file has {longest:,} characters: it is no LoRA", where=[path], fix=fix)
    _refuse_model(keys, path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file and its metadata."""
    refuse_unreadable(path)
    with _telling_of_the_file(path):
        return read_tensors(path), read_metadata(path)


@contextlib.contextmanager
def _telling_of_the_file(path: Path) -> Iterator[None]:
    """Raise ModelError for what is wrong with a file, in words for LoRA files."""
    try:
        yield
    except CacheError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            fix = near_miss_and(path, f"paths start at {Path.cwd()}")
            raise ModelError("there is no such LoRA file", where=[path], fix=fix) from error
        if isinstance(error.__cause__, OSError):
            what = f"the LoRA file cannot be read: {error.__cause__.strerror or error.__cause__}"
            raise ModelError(what, where=[path], fix="name the LoRA file itself, one that you may read") from error
        fix = (
            "copy it again; of a `.pt` or `.ckpt` file, which could run code while it is read, "
            "use the safetensors version"
        )
        raise ModelError("the LoRA file is damaged or not safetensors", where=[path], fix=fix) from error


def read_finite_lora(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a LoRA file that can be trained or converted.

    Raises as :func:`read_lora` and :func:`shapes.refuse_impossible` do, and ModelError when a tensor holds NaN or
    infinity.
    """
    tensors = read_lora(path)
    refuse_impossible(tensors, path)
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor.float()).all()):
            raise ModelError(
                f"`{key}` of this LoRA holds NaN or infinity", where=[path], fix="use an earlier file of it"
            )
    return tensors


def load_lora(path: Path, lora: Lora) -> None:
    """Fill ``lora`` from a LoRA file of any format of :mod:`formats`, for a warm start.

    Raises:
        ModelError: the file cannot be read, holds NaN or infinity, is for other layers, has another rank, or holds
            DoRA's norms for a run without DoRA; names the first such layer.
    """
    tensors = to_native(read_finite_lora(path), lora.modules(), lora.fused, lora.apart, path=path)
    by_base = read_metadata(path).get(DORA_DIVISOR) == DIVIDED_BY_BASE
    if lora.shape.kind != "lora":
        _fill_factors(lora, tensors, path)
        return
    with torch.no_grad():
        for name, layer in lora.layers.items():
            original = f"{PREFIX}{lora.original_name(name)}"
            norms = _fill_layer(layer, lora, original, tensors, path)
            if lora.shape.dora:
                layer.lora_magnitude_vector[ADAPTER].weight.copy_(_trained_norms(layer, lora, norms, by_base=by_base))
    beside = {f"{PREFIX}{whole}:{part}.dora_scale" for whole, parts in lora.fused.items() for part, _ in parts}
    _refuse_left_over({key: tensor for key, tensor in tensors.items() if key not in beside}, path)


def _trained_norms(layer: BaseTunerLayer, lora: Lora, stored: Tensor | None, *, by_base: bool) -> Tensor:
    """Return DoRA's norms of a filled layer, on the CPU; ``stored`` are those of the file."""
    if stored is not None and not by_base:
        return stored.reshape(-1).cpu()
    weight_OI, scale = layer.get_base_layer().weight, lora.shape.scaling
    ratio = norm_ratio(weight_OI, layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, scale=scale)
    # Without DoRA the weight is W + B @ A itself: its norms are its own, and not those of W that a fresh DoRA has.
    norms = whole_output_norms(weight_OI) if stored is None else stored.reshape(-1).cpu()
    return norms / ratio


def _fill_layer(
    layer: BaseTunerLayer, lora: Lora, original: str, tensors: dict[str, Tensor], path: Path
) -> Tensor | None:
    """Take the tensors of the layer called ``original`` out of ``tensors``, and copy A and B into ``layer``.

    Returns DoRA's norms as stored.
    """
    a, b = tensors.pop(f"{original}.lora_A.weight", None), tensors.pop(f"{original}.lora_B.weight", None)
    alpha = tensors.pop(f"{original}.alpha", None)
    norms = tensors.pop(f"{original}.dora_scale", None)
    if a is None or b is None:
        raise ModelError(
            f"this LoRA has no weights for `{original}`",
            where=[path],
            fix="use a LoRA of the same family and the same layers",
        )
    own_a, own_b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    if (a.shape[1], b.shape[0]) != (own_a.shape[1], own_b.shape[0]):
        sizes = f"{tuple(b.shape)} and {tuple(a.shape)} in this LoRA, and {tuple(own_b.shape)} and {tuple(own_a.shape)}"
        raise ModelError(
            f"the matrices of `{original}` are {sizes} here",
            where=[path],
            fix="use a LoRA for this size of the model",
        )
    if a.shape != own_a.shape:
        raise ModelError(
            f"`{original}` has rank {a.shape[0]} in this LoRA and {own_a.shape[0]} here",
            where=[path],
            fix=f"set `network_dim = {a.shape[0]}`",
        )
    if norms is not None and not lora.shape.dora:
        raise ModelError(
            "this LoRA was trained with DoRA, whose norms this run would drop", where=[path], fix="add `--use-dora`"
        )
    stored_scale = 1.0 if alpha is None else float(alpha) / a.shape[0]
    own_a.copy_(a)
    # The scale of the file may differ from that of the run; scale * B @ A must be the same.
    own_b.copy_(b.float() * (stored_scale / lora.shape.scaling))
    return norms


def _factor_tensors(lora: Lora, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for module, layer in sorted(lora.layers.items()):
        factors = factor_tensors(layer, adapter=ADAPTER, rank=lora.shape.rank, dtype=dtype)
        tensors |= {f"{PREFIX}{lora.original_name(module)}.{part}": tensor for part, tensor in factors.items()}
    return tensors


def _fill_factors(lora: Lora, tensors: Mapping[str, Tensor], path: Path) -> None:
    left = dict(tensors)
    for module, layer in lora.layers.items():
        name = f"{PREFIX}{lora.original_name(module)}"
        own = {part: left.pop(f"{name}.{part}") for part in (*FACTORS, "alpha") if f"{name}.{part}" in left}
        fill_factors(layer, own, adapter=ADAPTER, name=name, path=path)
    _refuse_left_over(left, path)


def _refuse_left_over(tensors: Mapping[str, Tensor], path: Path) -> None:
    if tensors:
        raise ModelError(
            f"this LoRA also adapts `{next(iter(tensors))}`, which this run does not",
            where=[path],
            fix="add it with `include_patterns`",
        )


def _model_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the serialised tensors after the header, as web interfaces compute ``sshs_model_hash``."""
    # The parts of one fused layer may share their A. The format refuses tensors that share memory, so each is copied.
    data = save({key: tensor.clone() for key, tensor in sorted(tensors.items())})
    header_length = int.from_bytes(data[:8], "little")
    return hashlib.sha256(data[8 + header_length :]).hexdigest()
