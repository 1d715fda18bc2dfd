"""LoRA files in the native format. ComfyUI and diffusers load them, since layers have the original repository's names.

    diffusion_model.blocks.0.self_attn.q.lora_A.weight   (rank, inputs)
    diffusion_model.blocks.0.self_attn.q.lora_B.weight   (outputs, rank)
    diffusion_model.blocks.0.self_attn.q.alpha           ()
    diffusion_model.blocks.0.self_attn.q.dora_scale      (outputs, 1), DoRA only
    diffusion_model.blocks.0.self_attn.q.lokr_w1 ...     LoKr and LoHa: see :mod:`lokr_loha`

diffusers reads a file without alpha with scale 1; a file with alpha is exact in both. The metadata name what was
trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save
from torch import Tensor

from blissmask.cachefile import write
from blissmask.cachefile.read import read_tensors
from blissmask.errors import CacheError, ModelError
from blissmask.training.lora.formats import NATIVE_PREFIX as PREFIX
from blissmask.training.lora.formats import LoraFormat, to_format, to_native
from blissmask.training.lora.layers import ADAPTER, Lora
from blissmask.training.lora.lokr_loha import FACTORS, factor_tensors, fill_factors
from blissmask.training.lora.shapes import refuse_impossible

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def lora_tensors(lora: Lora, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return the tensors of a native file.

    Readers multiply by ``alpha / rank``, so alpha is such that this is the scale of the training, whatever its kind.
    """
    if lora.shape.kind != "lora":
        return _factor_tensors(lora, dtype)
    tensors = {}
    alpha = torch.tensor(lora.shape.scaling * lora.shape.rank)
    for name, (a, b) in lora.matrices().items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = a.to("cpu", dtype).contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b.to("cpu", dtype).contiguous()
        tensors[f"{PREFIX}{name}.alpha"] = alpha.clone()
    for name, norms in lora.magnitudes().items():
        tensors[f"{PREFIX}{name}.dora_scale"] = norms.to("cpu", dtype).reshape(-1, 1).contiguous()
    return tensors


def save_lora(
    path: Path,
    lora: Lora,
    metadata: Mapping[str, str],
    *,
    precision: str = "float32",
    file_format: LoraFormat = "native",
) -> None:
    """Publish a LoRA file.

    Args:
        path: ends in ``.safetensors``.
        lora: what to write.
        metadata: strings; the hash of the tensors is added.
        precision: float32, bfloat16 or float16.
        file_format: how the layers are spelled.
    """
    tensors = to_format(lora_tensors(lora, dtype=DTYPES[precision]), file_format, lora.modules(), lora.fused)
    write_lora(path, tensors, metadata)


def write_lora(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Publish the tensors of a LoRA file with their hash.

    Metadata that come from another file may hold a hash of that whole file, which is left out.
    """
    kept = {key: value for key, value in metadata.items() if key != "sshs_legacy_hash"}
    fix = (
        "train on from an earlier checkpoint with a lower `--learning-rate`; "
        "float16 holds nothing above 65504, bfloat16 does"
    )
    write.save_tensors(path, tensors, {**kept, "sshs_model_hash": _model_hash(tensors)}, fix=fix)


def read_lora(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a LoRA file as they are.

    Raises ModelError when the file is missing, damaged or not safetensors.
    """
    try:
        return read_tensors(path)
    except CacheError as error:
        if not path.exists():
            raise ModelError("there is no such LoRA file", where=[path], fix=f"paths start at {Path.cwd()}") from error
        fix = (
            "copy it again; of a `.pt` or `.ckpt` file, which could run code while it is read, "
            "use the safetensors version"
        )
        raise ModelError("the LoRA file is damaged or not safetensors", where=[path], fix=fix) from error


def read_finite_lora(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a LoRA file that can be trained or converted.

    Raises ModelError as :func:`read_lora` and :func:`shapes.refuse_impossible` do, and when a tensor holds NaN or
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
    tensors = to_native(read_finite_lora(path), lora.modules(), lora.fused)
    if lora.shape.kind != "lora":
        _fill_factors(lora, tensors, path)
        return
    with torch.no_grad():
        for name, layer in lora.layers.items():
            _fill_layer(layer, lora, f"{PREFIX}{lora.original_name(name)}", tensors, path)
    _refuse_left_over(tensors, path)


def _fill_layer(layer: BaseTunerLayer, lora: Lora, original: str, tensors: dict[str, Tensor], path: Path) -> None:
    """Take the tensors of the layer called ``original`` out of ``tensors``, and copy them into ``layer``."""
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
    if a.shape != own_a.shape or b.shape != own_b.shape:
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
    if norms is not None:
        layer.lora_magnitude_vector[ADAPTER].weight.copy_(norms.reshape(-1))


def _factor_tensors(lora: Lora, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for module, layer in sorted(lora.layers.items()):
        factors = factor_tensors(layer, adapter=ADAPTER, scale=lora.shape.scaling, rank=lora.shape.rank, dtype=dtype)
        tensors |= {f"{PREFIX}{lora.original_name(module)}.{part}": tensor for part, tensor in factors.items()}
    return tensors


def _fill_factors(lora: Lora, tensors: Mapping[str, Tensor], path: Path) -> None:
    left = dict(tensors)
    for module, layer in lora.layers.items():
        name = f"{PREFIX}{lora.original_name(module)}"
        own = {part: left.pop(f"{name}.{part}") for part in (*FACTORS, "alpha") if f"{name}.{part}" in left}
        fill_factors(layer, own, adapter=ADAPTER, scale=lora.shape.scaling, name=name, path=path)
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
