"""Files whose alpha is in peft's configuration: beside the file, where peft saved it, or in its metadata.

    base_model.model.blocks.0.attn1.to_q.lora_A.weight          (rank, inputs); also ``lora_A.default.weight``
    base_model.model.blocks.0.attn1.to_q.lora_B.weight          (outputs, rank)
    base_model.model.blocks.0.attn1.to_q.lora_magnitude_vector  (outputs,), DoRA only

**peft** saves ``adapter_model.safetensors``. That is the diffusers spelling but for the beginning, and for the scale,
which is not in B: ``adapter_config.json`` beside the file has alpha. See peft 0.21, ``utils/save_and_load.py`` and
``tuners/lora/layer.py``. A model of the original repository that peft trained has the original names of layers.

**diffusers** since 0.34 puts the same configuration into the metadata ``lora_adapter_metadata``, as JSON whose keys
begin as those of the tensors do; its training scripts do so, with an alpha that need not be the rank. See diffusers
0.42, ``loaders/lora_base.py`` and ``loaders/peft.py``. Without it the scale of diffusers' files is 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from blissmask.cachefile.read_file import read_keys
from blissmask.documents import DocumentError, parse_json
from blissmask.errors import ModelError, Problem
from blissmask.storage.limits import MOST_CONFIG, refuse_larger
from blissmask.storage.ordinary import read_text, what_is
from blissmask.training.lora.formats import DIFFUSERS_PREFIX, PEFT_PREFIX, scaled, split_key
from blissmask.training.lora.lokr_loha import FACTORS

_CONFIG = "adapter_config.json"
_ADAPTER = re.compile(r"\b(?:(lora_[AB])\.[^.]+\.weight|(lora_magnitude_vector)(?:\.[^.]+)?\.weight)$")
"""peft's spelling of a tensor of a named adapter."""
IN_METADATA = "lora_adapter_metadata"
"""Metadata key of diffusers: peft's configuration, as JSON."""
_PLAIN_NAME = re.compile(r"\^?[\w.]+")
_GET = "get the file again, as peft saved it"


def without_adapter(key: str) -> str:
    """Return a key without peft's name of the adapter: ``lora_A.weight`` for ``lora_A.default.weight``."""
    return _ADAPTER.sub(lambda found: found[2] or f"{found[1]}.weight", key)


def is_peft(keys: Iterable[str]) -> bool:
    """Return whether the keys of a LoRA file are those of peft."""
    return any(key.startswith(PEFT_PREFIX) for key in keys)


def as_diffusers(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Spell peft's tensors as diffusers does, and put a scale that a configuration names into B.

    Args:
        tensors: of a file, without names of adapters, beginning as ours do; those of other spellings stay as they are.
        metadata: of the file.
        path: of the file; peft's configuration is looked for beside it. Without one the scale is 1, as diffusers reads
            it.

    Raises:
        ModelError: the file holds peft's LoKr or LoHa, or its configuration cannot be read or names no alpha that fits.
    """
    beside = is_peft(tensors)
    config = _config_beside(path) if beside else _config_within(metadata, path)
    if beside or config is not None:
        _refuse_factors(tensors, path)
    spelled = {}
    for key, tensor in tensors.items():
        own = f"{DIFFUSERS_PREFIX}{key.removeprefix(PEFT_PREFIX)}" if key.startswith(PEFT_PREFIX) else key
        name, part = split_key(key)
        # An alpha of the file itself counts.
        is_scaled = own.startswith(DIFFUSERS_PREFIX) and part == "lora_B.weight" and f"{name}.alpha" not in tensors
        first = tensors.get(f"{name}.lora_A.weight")
        # Tensors without a rank are refused by their shape, with the others.
        if config is not None and is_scaled and first is not None and first.ndim and len(first):
            scale = config.scale(split_key(own)[0].removeprefix(DIFFUSERS_PREFIX), len(first))
            tensor = scaled(tensor, scale)
        spelled[own] = tensor
    return spelled


def _refuse_factors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError for peft's LoKr or LoHa: files of LyCORIS, which are read, have an alpha of their own."""
    for key in tensors:
        name, part = split_key(key)
        of_diffusers = key.startswith(DIFFUSERS_PREFIX) and f"{name}.alpha" not in tensors
        if part in FACTORS and (of_diffusers or key.startswith(PEFT_PREFIX)):
            what = "this is peft's spelling of LoKr or LoHa, and LoRA alone is read in it"
            fix = "use LoKr and LoHa of LyCORIS, which say their scale in the file"
            raise ModelError(what, where=[path, f"`{key}`"], fix=fix)


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
    these = "this file is" if len(bare) == 1 else "these files are"
    what = f"alpha is taken as the rank, a scale of 1: {these} peft's, and no `{_CONFIG}` beside says another"
    return [Problem(what, tuple(map(str, bare)), f"put the `{_CONFIG}` that was saved with each beside it")]


@dataclass(frozen=True, slots=True)
class _Config:
    """peft's configuration of a LoRA.

    Attributes:
        values: by name.
        where: it stands, for messages.
    """

    values: Mapping[str, Any]
    where: tuple[Path | str, ...]

    def scale(self, module: str, rank: int) -> float:
        """Return what peft multiplies the update of a module with."""
        pattern = self.values.get("alpha_pattern") or {}
        # peft takes them as regular expressions; in the wild they are names, and an expression may take forever.
        if not isinstance(pattern, Mapping) or not all(_PLAIN_NAME.fullmatch(name) for name in pattern):
            raise ModelError("`alpha_pattern` must hold names of layers", where=self.where, fix=_GET)
        own = [alpha for name, alpha in pattern.items() if _names(name, module)]
        alpha = own[0] if own else self.values.get("lora_alpha")
        # Within 32 bits: JSON takes whole numbers that no float holds.
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < 2**31:
            raise ModelError("peft's configuration has no `lora_alpha` above 0", where=self.where, fix=_GET)
        return float(alpha) / (math.sqrt(rank) if self.values.get("use_rslora") is True else rank)


def _names(pattern: str, module: str) -> bool:
    """Return whether a name of ``alpha_pattern`` means a module: its whole name behind ``^``, else the end of it."""
    if pattern.startswith("^"):
        return module == pattern[1:]
    return f".{module}".endswith(f".{pattern}")


def _config_beside(path: Path) -> _Config | None:
    beside = config_beside(path)
    if beside is None:
        return None
    try:
        refuse_larger(beside, MOST_CONFIG)
        text = read_text(beside)
    except OSError as error:
        raise ModelError(f"peft's configuration cannot be read: {error.strerror}", where=[beside], fix=_GET) from error
    except UnicodeDecodeError as error:
        raise ModelError(f"peft's configuration is no JSON: {error}", where=[beside], fix=_GET) from error
    return _Config(_parsed(text, (beside,)), (beside,))


def _config_within(metadata: Mapping[str, str], path: Path) -> _Config | None:
    """Return the configuration of the denoiser, or None; a file may hold that of a text encoder as well, or alone."""
    text, where = metadata.get(IN_METADATA), (path, f"`{IN_METADATA}` in its metadata")
    if not text:
        return None
    if len(text) > MOST_CONFIG:
        raise ModelError(f"peft's configuration has more than {MOST_CONFIG:,} characters", where=where, fix=_GET)
    values = _parsed(text, where)
    own = {
        key.removeprefix(DIFFUSERS_PREFIX): value for key, value in values.items() if key.startswith(DIFFUSERS_PREFIX)
    }
    # A model, unlike a pipeline, saves its own without a beginning.
    own = own or {key: value for key, value in values.items() if "." not in key}
    return _Config(own, where) if own else None


def _parsed(text: str, where: tuple[Path | str, ...]) -> Mapping[str, Any]:
    try:
        config = parse_json(text)
    except DocumentError as error:
        raise ModelError(f"peft's configuration is no JSON: {error}", where=where, fix=_GET) from error
    if not isinstance(config, Mapping):
        raise ModelError("peft's configuration is no JSON object", where=where, fix=_GET)
    return config
