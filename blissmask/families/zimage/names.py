"""Names of Z-Image's modules in ComfyUI's single files; the original repository has diffusers' names."""

from __future__ import annotations

from blissmask.families.files.keymap import KeyMap, below, qkv_pairs
from blissmask.families.files.lora_readers import Spelling, comfyui, musubi_tuner, whole_layer
from blissmask.families.files.stored_tensors import Tensors, with_qkv_apart

_ROWS = ("layers", "noise_refiner", "context_refiner")
_ATTENTION = (
    *qkv_pairs("qkv", "to_*"),
    ("out", "to_out.0"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
)
COMFYUI = KeyMap(
    [
        ("x_embedder", "all_x_embedder.2-1"),
        ("final_layer", "all_final_layer.2-1"),
        *(pair for row in _ROWS for pair in below(f"{row}.{{}}.attention", f"{row}.{{}}.attention", _ATTENTION)),
    ]
)


def in_comfyui(name: str) -> str:
    """Return ComfyUI's own name of a layer; query, key and value have the name of the layer that holds all three."""
    return whole_layer(COMFYUI.to_original(name))


LORA_READERS = (
    comfyui(in_comfyui, *(Spelling(prefix) for prefix in ("diffusion_model.", "transformer.", ""))),
    musubi_tuner(),
)
"""ComfyUI also looks for diffusers' names, but not in kohya files."""


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a denoiser under diffusers' names, from ComfyUI's names or its own."""
    return COMFYUI.rename(with_qkv_apart(tensors, ".attention.qkv"))
