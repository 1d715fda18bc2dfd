"""Caches in miniature of every registered family, encoded by its own encoders."""

import torch

from blissmask.cachefile.layout import latent_name, text_name
from blissmask.cachefile.write import write_latents, write_text
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.registry import ARCHS, load_architecture
from tests.builders.training import seeded, stripes, weights_of

FILES = ModelFiles(model="tiny")
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
FAMILIES = [(name, task) for name in ARCHS.names() for task in load_architecture(name).tasks]


def write_cache(folder, arch, task):
    """Encode two items of noise with the family's own encoders."""
    side = 2 * arch.latent.grid_multiple
    frames = 1 if arch.latent.temporal_stride == 1 or not needs_video(task) else arch.latent.temporal_stride + 1
    latent_encoder = arch.load_latent_encoder(FILES, task=task, **CPU)
    text_encoder = arch.load_text_encoder(FILES, task=task, **CPU)
    for number in range(2):
        pixels = seeded(1, 3, frames, side, side, seed=number).clamp(-1, 1)
        controls = [seeded(1, 3, 1, side, side, seed=10 + number).clamp(-1, 1)] * arch.control_range[0]
        contents = {name: tensor[0] for name, tensor in latent_encoder.encode_item(pixels, controls=controls).items()}
        shares = stripes(*contents["latents"].shape[1:])
        facts = {
            "architecture": arch.metadata_name,
            "format_version": "1.0.1",
            "blissmask.arch": arch.name,
            "blissmask.task": task,
        }
        path = folder / latent_name(f"kyla{number}", (side, side), arch.cache_suffix)
        write_latents(path, contents, weights_1fhw=weights_of(shares), regions_4fhw=shares, metadata=facts)
        images = [[control[0, :, 0] for control in controls]] if arch.text_sees_controls else None
        (text,) = text_encoder.encode([f"kyla, picture {number}"], images)
        write_text(
            folder / text_name(f"kyla{number}", arch.cache_suffix),
            text.tensors,
            variable_length=text.variable_length,
            metadata=facts,
        )
    return folder


def needs_video(task):
    return task != "t2v" and "i2v" in task
