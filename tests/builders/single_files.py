"""Single model files in the layouts of their publishers, written from miniatures, and shapes of full-size models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file as write_safetensors
from torch import Tensor, nn

from blissmask.families.files.loading import build_empty
from blissmask.families.files.miniature import seeded
from blissmask.families.files.stored_tensors import StoredTensor
from tests.builders.families import CPU

FP32 = {"device": CPU, "dtype": torch.float32}


def state_of(make: Callable[[], nn.Module]) -> tuple[Any, dict[str, Tensor]]:
    """Return a miniature and a copy of its weights."""
    module = seeded(make, **FP32, name="source")
    return module, {key: value.clone() for key, value in module.state_dict().items()}


def written(path: Path, state: dict[str, Tensor], prefix: str = "") -> Path:
    """Write a safetensors file with ``prefix`` before every name."""
    write_safetensors({prefix + key: value.contiguous() for key, value in state.items()}, path)
    return path


def in_original_names(state: dict[str, Any], keymap: Any) -> dict[str, Any]:
    """Return weights under the names of the original repository."""
    return {keymap.to_original(key): value for key, value in state.items()}


def assert_same_weights(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Compare what was loaded with what was written."""
    loaded = module.state_dict()
    assert loaded
    for key in loaded:
        torch.testing.assert_close(loaded[key], state[key], rtol=0, atol=0)


def stored_shapes(module: nn.Module) -> dict[str, StoredTensor]:
    """Return the tensors of a model as a file would hold them, without numbers."""
    return {key: StoredTensor(tuple(value.shape), Tensor) for key, value in module.state_dict().items()}


def assert_rebuilt_from_shapes(class_name: str, sizes: dict[str, Any], config_of: Callable[..., Any]) -> None:
    """Build a full-size diffusers model without memory, and again from the shapes of its tensors."""
    import diffusers

    made: Any = build_empty(lambda: getattr(diffusers, class_name)(**sizes))
    read = config_of(stored_shapes(made), Path("file"))
    for key, value in read.items():
        assert made.config[key] == value or tuple(made.config[key]) == tuple(value), key
    again = build_empty(lambda: getattr(diffusers, class_name)(**read))
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in made.state_dict().items()
    }


def assert_transformer_rebuilt_from_shapes(
    class_name: str, sizes: dict[str, Any], config_of: Callable[..., Any]
) -> None:
    """Read the configuration of a full-size transformers model from the shapes of its tensors."""
    import transformers

    model_class = getattr(transformers, class_name)
    made: Any = build_empty(lambda: model_class(model_class.config_class(**sizes)))
    for key, value in config_of(stored_shapes(made), Path("file")).items():
        assert getattr(made.config, key) == value, key
