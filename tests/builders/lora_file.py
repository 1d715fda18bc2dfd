"""LoRA files of a LoRA as it is trained, for tests that read them."""

from collections.abc import Mapping
from pathlib import Path

from blissmask.training.lora.file import lora_contents, write_lora
from blissmask.training.lora.formats import LoraFormat
from blissmask.training.lora.layers.lora import Lora


def save_lora(
    path: Path,
    lora: Lora,
    metadata: Mapping[str, str],
    *,
    precision: str = "float32",
    file_format: LoraFormat = "native",
    native_alpha: bool = True,
) -> None:
    """Publish a LoRA in a file that ends in ``.safetensors``; the arguments are those of :func:`lora_contents`."""
    contents = lora_contents(lora, metadata, precision=precision, file_format=file_format, native_alpha=native_alpha)
    write_lora(path, contents.tensors, contents.metadata)
