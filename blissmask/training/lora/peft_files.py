"""What peft saves by itself: ``adapter_model.safetensors`` of a diffusers model, with its alpha in another file.

    base_model.model.blocks.0.attn1.to_q.lora_A.weight          (rank, inputs); also ``lora_A.default.weight``
    base_model.model.blocks.0.attn1.to_q.lora_B.weight          (outputs, rank)
    base_model.model.blocks.0.attn1.to_q.lora_magnitude_vector  (outputs,), DoRA only

That is the diffusers spelling but for the beginning, and for the scale, which is not in B: ``adapter_config.json``
beside the file has alpha. See peft 0.21, ``utils/save_and_load.py`` and ``tuners/lora/layer.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from blissmask.cachefile.read_file import read_keys
from blissmask.documents import DocumentError, parse_json
from blissmask.errors import ModelError, Problem
from blissmask.storage.limits import MOST_CONFIG, refuse_larger
from blissmask.storage.ordinary import read_text, what_is
from blissmask.training.lora.formats import DIFFUSERS_PREFIX, split_key
from blissmask.training.lora.lokr_loha import FACTORS

_PREFIX = "base_model.model."
_CONFIG = "adapter_config.json"
_ADAPTER = re.compile(r"\b(?:(lora_[AB])\.[^.]+\.weight|(lora_magnitude_vector)(?:\.[^.]+)?\.weight)$")
"""peft's spelling of a tensor of a named adapter."""
_PLAIN_NAME = re.compile(r"[\w.]+")
_GET = "get the file again, as peft saved it"


def without_adapter(key: str) -> str:
    """Return a key without peft's name of the adapter: ``lora_A.weight`` for ``lora_A.default.weight``."""
    return _ADAPTER.sub(lambda found: found[2] or f"{found[1]}.weight", key)


def is_peft(keys: Iterable[str]) -> bool:
    """Return whether the keys of a LoRA file are those of peft."""
    return any(key.startswith(_PREFIX) for key in keys)


def as_diffusers(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Spell peft's tensors as diffusers does: another beginning, and the scale in B. Other files stay as they are.

    Args:
        tensors: of a file, without names of adapters.
        path: of the file; its configuration is looked for beside it. Without one the scale is 1, as diffusers reads it.

    Raises:
        ModelError: the file holds LoKr or LoHa, or its configuration cannot be read or names no alpha that fits.
    """
    if not is_peft(tensors):
        return dict(tensors)
    if any(split_key(key)[1] in FACTORS for key in tensors):
        fix = "use LoKr and LoHa of LyCORIS, which say their scale in the file"
        raise ModelError("this is peft's spelling of LoKr or LoHa, and LoRA alone is read in it", where=[path], fix=fix)
    beside = config_beside(path)
    config = None if beside is None else _read(beside)
    spelled = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        first = tensors.get(f"{name}.lora_A.weight")
        # Tensors without a rank are refused by their shape, with the others.
        if part == "lora_B.weight" and config is not None and first is not None and first.ndim and len(first):
            scale = _scale(config, name.removeprefix(_PREFIX), len(first), path)
            tensor = (tensor.float() * scale).to(tensor.dtype)
        spelled[f"{DIFFUSERS_PREFIX}{key.removeprefix(_PREFIX)}" if key.startswith(_PREFIX) else key] = tensor
    return spelled


def config_beside(path: Path) -> Path | None:
    """Return peft's configuration beside a file, or None where there is none."""
    config = path.with_name(_CONFIG)
    return config if what_is(config) else None


def configs_of(paths: Iterable[Path]) -> list[Path]:
    """Return the configurations that decide what files of peft mean; none of other files. Headers alone are read."""
    found = (config_beside(path) for path in paths if is_peft(read_keys(path)))
    return [config for config in found if config is not None]


def alpha_warnings(paths: Sequence[Path]) -> list[Problem]:
    """Return a warning about files of peft whose alpha is not known, or none. Headers alone are read."""
    bare = [path for path in paths if config_beside(path) is None and is_peft(read_keys(path))]
    if not bare:
        return []
    what = f"alpha is taken as the rank, a scale of 1: this file is peft's, and no `{_CONFIG}` beside it says another"
    return [Problem(what, tuple(map(str, bare)), f"put the `{_CONFIG}` that was saved with it beside it")]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        refuse_larger(path, MOST_CONFIG)
        config = parse_json(read_text(path))
    except OSError as error:
        raise ModelError(f"peft's configuration cannot be read: {error.strerror}", where=[path], fix=_GET) from error
    except (DocumentError, UnicodeDecodeError) as error:
        raise ModelError(f"peft's configuration is no JSON: {error}", where=[path], fix=_GET) from error
    if not isinstance(config, Mapping):
        raise ModelError("peft's configuration is no JSON object", where=[path], fix=_GET)
    return config


def _scale(config: Mapping[str, Any], module: str, rank: int, path: Path) -> float:
    """Return what peft multiplies the update of a module with; ``path`` is of the LoRA file."""
    pattern = config.get("alpha_pattern") or {}
    # peft takes them as regular expressions; in the wild they are names, and an expression may take forever.
    if not isinstance(pattern, Mapping) or not all(_PLAIN_NAME.fullmatch(name) for name in pattern):
        raise ModelError("`alpha_pattern` must hold names of layers", where=[path.with_name(_CONFIG)], fix=_GET)
    own = [alpha for name, alpha in pattern.items() if f".{module}".endswith(f".{name}")]
    alpha = own[0] if own else config.get("lora_alpha")
    # Within 32 bits: JSON takes whole numbers that no float holds.
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 2**31:
        raise ModelError("peft's configuration has no `lora_alpha` above 0", where=[path.with_name(_CONFIG)], fix=_GET)
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") is True else rank)
