"""The parts of HunyuanVideo 1.5, and their sizes from the shapes of tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.encoders import qwen_vl, siglip, t5
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.hunyuan.parts import denoiser_sizes, vae_config
from blissmask.families.hunyuan15 import names, tiny
from blissmask.families.vae.encoding import without_decoder
from blissmask.networks.model_folder import read_config

# The wording of the template is in `text`; its special tokens are here, since the tokenizer must know them.
TEMPLATE_TOKENS = ("<|im_start|>", "<|im_end|>")
# Names of the embedding of the time that a step ends at, in the original repository and in diffusers.
_SECOND_TIME = ("time_r_in.", "time_embed.timestep_embedder_r.")


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``HunyuanVideo15Transformer3DModel`` that fit ``tensors``."""
    kind = "HunyuanVideo 1.5 denoiser"
    shape = partial(shape_of, tensors, source=path, kind=kind)
    return {
        **denoiser_sizes(tensors, path, kind=kind),
        "text_embed_2_dim": shape("context_embedder_2.linear_1.weight")[1],
        "image_embed_dim": shape("image_embedder.linear_1.weight")[1],
    }


def refuse_distilled(path: Path) -> None:
    """Raise ModelError for a denoiser of few steps: it takes a second time that no training of ours shows it."""
    from blissmask.families.files.tensor_files import open_checkpoint

    if path.is_dir():
        distilled = (path / "config.json").is_file() and bool(read_config(path).get("use_meanflow"))
    else:
        distilled = any(name.startswith(_SECOND_TIME) for name in open_checkpoint(path))
    if distilled:
        fix = "train on the model of many steps; its LoRA loads in the distilled one as well"
        raise ModelError(f"{path.name} is distilled to few steps (`time_r_in`)", where=[path], fix=fix)


VAE = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKLHunyuanVideo15",
    rename=names.rename_vae,
    config_of=vae_config,
    tiny=tiny.vae,
    tiny_name="hunyuan15",
)
VAE_ENCODER = without_decoder(VAE)
QWEN = Part(
    folder="text_encoder",
    field="text_encoder",
    class_path="transformers.Qwen2_5_VLTextModel",
    rename=qwen_vl.in_language_names,
    config_of=qwen_vl.language_config_of,
    ignore=(qwen_vl.HEAD, qwen_vl.VISION),
    tiny=tiny.qwen_language,
    tiny_name="hunyuan15",
)
QWEN_TOKENIZER = Tokenizer(encoder=QWEN, specials=TEMPLATE_TOKENS)
# Its tokens are bytes, so it needs no tokenizer's files.
BYT5 = Part(
    folder="text_encoder_2",
    field="text_encoder_2",
    class_path="transformers.T5EncoderModel",
    rename=t5.in_transformers_names,
    config_of=t5.config_of,
    ignore=t5.UNUSED,
    tiny=t5.tiny_byt5,
    tiny_name="hunyuan15",
)
SIGLIP = Part(
    folder="image_encoder",
    field="image_encoder",
    class_path="transformers.SiglipVisionModel",
    rename=siglip.in_transformers_names,
    config_of=siglip.config_of,
    ignore=siglip.UNUSED,
    tiny=siglip.tiny,
    tiny_name="hunyuan15",
)
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.HunyuanVideo15Transformer3DModel",
    rename=names.rename_denoiser,
    config_of=denoiser_config,
    check_source=refuse_distilled,
    tiny=tiny.denoiser,
    tiny_name="hunyuan-video-15",
)
