"""The parts of HunyuanVideo 1.5, and their sizes from the shapes of tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.encoders import qwen_vl, siglip, t5
from blissmask.families.encoders.captions import TextReading, not_empty
from blissmask.families.encoders.qwen_chat import captions_in_chat
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.hunyuan.parts import ASPECTS, denoiser_sizes
from blissmask.families.hunyuan15 import names
from blissmask.families.protocol import LatentSpec
from blissmask.networks.model_folder import read_config

# The cached latents times the scale have the spread of noise. Source: the VAE's configuration.
LATENT = LatentSpec(channels=32, spatial_stride=16, temporal_stride=4, grid_multiple=16, train_scale=1.03682)
# The runs of spaces are the model's training data: a changed letter changes every embedding.
_BEGINNING = "You are a helpful assistant. Describe the video by detailing the following aspects:"
_SYSTEM = f"{(' ' * 9).join((_BEGINNING, *ASPECTS))}."
CAPTIONS = captions_in_chat(_SYSTEM, tokens=1000, clean=not_empty)
READING = TextReading(content="vl_embed", captions=CAPTIONS, taps=(-3,))
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


def refuse_distilled_folder(folder: Path) -> None:
    """Raise ModelError for a denoiser of few steps: it takes a second time that no training of ours shows it."""
    if (folder / "config.json").is_file() and read_config(folder).get("use_meanflow"):
        raise _distilled(folder)


def refuse_distilled_file(tensors: Tensors, path: Path) -> None:
    """Raise ModelError for a single file of a denoiser of few steps, by its tensors under their names in the file."""
    if any(name.startswith(_SECOND_TIME) for name in tensors):
        raise _distilled(path)


def _distilled(path: Path) -> ModelError:
    fix = "train on the model of many steps; its LoRA loads in the distilled one as well"
    return ModelError(f"{path.name} is distilled to few steps (`time_r_in`)", where=[path], fix=fix)


def _tiny() -> Any:
    """Return a two-block ``HunyuanVideo15Transformer3DModel``."""
    from diffusers import HunyuanVideo15Transformer3DModel

    sizes = {"num_attention_heads": 1, "attention_head_dim": 128, "num_layers": 2, "num_refiner_layers": 1}
    return HunyuanVideo15Transformer3DModel(
        **sizes,
        text_embed_dim=qwen_vl.TINY_WIDTH,
        text_embed_2_dim=t5.TINY_WIDTH,
        image_embed_dim=siglip.TINY_WIDTH,
    )


QWEN = qwen_vl.language_half("hunyuan15")
QWEN_TOKENIZER = Tokenizer(encoder=QWEN, specials=CAPTIONS.specials)
BYT5 = t5.byt5("hunyuan15")
SIGLIP = siglip.image_encoder("hunyuan15")
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.HunyuanVideo15Transformer3DModel",
    rename=names.rename_denoiser,
    config_of=denoiser_config,
    check_folder=refuse_distilled_folder,
    check_tensors=refuse_distilled_file,
    tiny=_tiny,
    tiny_name="hunyuan-video-15",
    # What diffusers' class builds by itself.
    published={},
)
