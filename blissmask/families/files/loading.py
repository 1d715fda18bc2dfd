"""Build real diffusers and transformers models: from single files, with every key accounted for, or from folders.

``from_single_file`` is not used: it needs the hub for its configurations, drops the scales of fp8_scaled files and
casts modules that must stay float32. Here a model is built without memory, its weights are renamed and assigned, and
what is missing or left over is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blissmask.errors import MachineError, ModelError, first_few, first_line
from blissmask.families.files.stored_tensors import StoredTensor, Tensors
from blissmask.storage.ordinary import refuse_special_in


def build_empty(make: Callable[[], nn.Module]) -> nn.Module:
    """Return ``make()`` with parameters that take no memory.

    Buffers such as rotary tables are real: no file holds them.
    """
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        return make()


def load_weights(
    module: nn.Module,
    tensors: Tensors,
    *,
    source: Path,
    device: torch.device,
    dtype: torch.dtype,
    ignore: Iterable[str] = (),
) -> nn.Module:
    """Assign ``tensors`` to an empty ``module``, every one of them and nothing else.

    Modules that the class lists in ``_keep_in_fp32_modules`` become float32 whatever ``dtype`` says (transformers' own
    list counts for float16 only, as it does there): time embeddings and modulation lose visible precision in bfloat16.

    Args:
        module: from :func:`build_empty`.
        tensors: by the module's own names.
        source: the file, for messages.
        device: where the weights go.
        dtype: what floating weights become.
        ignore: prefixes of names that the module deliberately lacks, e.g. ``decoder.``.

    Returns:
        ``module``, in eval mode, without gradients.

    Raises:
        ModelError: missing or unexpected keys, or a shape that differs; all are named.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(ignore))}
    _refuse_mismatch(type(module).__name__, expected, given, source)
    dtype_of = _dtypes(module, dtype)
    with _MemoryNamed(source):
        state = {name: _placed(stored.read(), device, dtype_of(name)) for name, stored in given.items()}
        module.load_state_dict(state, strict=True, assign=True)
        return _frozen(module.to(device))


def place(module: nn.Module, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a built module to ``device`` and ``dtype``, frozen, in eval mode.

    The modules that :func:`load_weights` keeps in float32 stay so. ``module.to(dtype)`` would cast them too, and
    diffusers warns about it on the user's screen.
    """
    dtype_of = _dtypes(module, dtype)
    for name, parameter in module.named_parameters():
        parameter.data = _placed(parameter.data, device, dtype_of(name))
    return _frozen(module.to(device))


def load_folder(load: Callable[..., Any], folder: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load a diffusers or transformers folder with ``load``, a class's ``from_pretrained``.

    Nothing is fetched, and no pickle is run.

    Raises:
        ModelError: the folder lacks files, or they are damaged or foreign.
    """
    from safetensors import SafetensorError

    if not (folder / "config.json").is_file():
        fix = "give a folder in diffusers layout, or a single file"
        raise ModelError("the model folder holds no `config.json`", where=[folder], fix=fix)
    _silence_progress_bars()
    keyword = "dtype" if load.__module__.startswith("transformers") else "torch_dtype"
    try:
        with _MemoryNamed(folder):
            refuse_special_in(folder)
            module = load(str(folder), local_files_only=True, use_safetensors=True, **{keyword: dtype})
            return _frozen(module.to(device))
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"the model folder cannot be loaded: {first_line(error)}", where=[folder]) from error


def _silence_progress_bars() -> None:
    """Keep the libraries' own bars off the screen, which belongs to ours."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _refuse_mismatch(
    class_name: str, expected: Mapping[str, tuple[int, ...]], given: Mapping[str, StoredTensor], source: Path
) -> None:
    missing = sorted(expected.keys() - given.keys())
    unexpected = sorted(given.keys() - expected.keys())
    reshaped = [
        f"{name}: {given[name].shape} in the file, {shape} expected"
        for name, shape in expected.items()
        if name in given and given[name].shape != shape
    ]
    if missing or unexpected or reshaped:
        lists = [("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped)]
        places = [f"{label}: {key}" for label, keys in lists for key in first_few(keys)]
        counts = ", ".join(f"{len(keys)} {label}" for label, keys in lists if keys)
        raise ModelError(
            f"{source.name} is no {class_name}: {counts}",
            where=[source, *places],
            fix="give the file of this model family",
        )


def _float32_parts(module: nn.Module, dtype: torch.dtype) -> frozenset[str]:
    """Return the names of the modules that stay float32."""
    if type(module).__module__.startswith("transformers") and dtype != torch.float16:
        return frozenset()
    return frozenset(getattr(module, "_keep_in_fp32_modules", None) or ())


def _dtypes(module: nn.Module, dtype: torch.dtype) -> Callable[[str], torch.dtype]:
    """Return a function from the name of a floating weight to its dtype."""
    kept = _float32_parts(module, dtype)

    def dtype_of(name: str) -> torch.dtype:
        return torch.float32 if kept.intersection(name.split(".")) else dtype

    return dtype_of


def _placed(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return value.to(device=device, dtype=dtype) if value.is_floating_point() else value.to(device)


def _frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False).eval()  # noqa: FBT003 (PyTorch's own signature)


class _MemoryNamed:
    """Turn running out of memory into a message that names the file."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            fix = "use a smaller precision or a smaller model"
            raise MachineError("not enough memory for the model", where=[self._source], fix=fix) from error
