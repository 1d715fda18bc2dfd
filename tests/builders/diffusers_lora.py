"""LoRA files in diffusers: the pipeline of a family in miniature, its own loader, and what came of it."""

import torch

from blissmask.families.previews.pipeline import PipelineParts, euler
from tests.builders.families import CPU, family_of, tiny_denoiser


def pipeline_class(name):
    """Return the class of the diffusers pipeline that the family draws previews with."""
    family = family_of(name)
    preview = family.preview_pipeline()
    denoisers = {expert.name: tiny_denoiser(name, expert=number).module for number, expert in enumerate(family.experts)}
    vae = preview.vae.load_tiny(device=CPU, dtype=torch.float32)
    return type(preview.pipeline(PipelineParts(denoisers, vae, euler(1.0, 1))))


def load_into(module, pipeline, folder):
    """Load ``kyla.safetensors`` of a folder with the pipeline's own loader; where it has none, its model has."""
    if hasattr(pipeline, "lora_state_dict"):
        state = pipeline.lora_state_dict(str(folder), weight_name="kyla.safetensors")
        pipeline.load_lora_into_transformer(state, transformer=module)
    else:
        module.load_lora_adapter(
            str(folder), weight_name="kyla.safetensors", prefix="transformer", use_safetensors=True
        )


def error_of(module, lora):
    """Return the largest difference between what diffusers adds to a weight and what was trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}
    assert layers.keys() == lora.layers.keys()
    expected = {name: lora.shape.scaling * b @ a for name, (a, b) in lora.matrices().items()}
    worst = 0.0
    for name, layer in layers.items():
        (adapter,) = layer.lora_A.keys()
        theirs = (layer.scaling[adapter] * layer.lora_B[adapter].weight @ layer.lora_A[adapter].weight).detach()
        worst = max(worst, float((theirs - expected[lora.original_name(name)]).abs().max()))
    return worst
