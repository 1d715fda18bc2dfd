"""Caches in miniature of every registered family, encoded by its own encoders."""

import functools
import tempfile
from pathlib import Path

import torch

from blissmask.cachefile.file_names import latent_name, text_name
from blissmask.cachefile.write import write_latents, write_text
from tests.builders.families import CPU, TINY, family_of
from tests.builders.training import seeded, stripes, weights_of


def write_cache(folder, family):
    """Write two items of noise, encoded by the family's own encoders; clips where the task shows the denoiser a first frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _files_of(family.name, family.task_name).items():
        (folder / name).write_bytes(content)
    return folder


@functools.cache
def _files_of(name, task):
    """Return the files of a cache by name; encoded once in a process, since some text encoders take half a second."""
    with tempfile.TemporaryDirectory() as place:
        _encode(Path(place), family_of(name, task))
        return {path.name: path.read_bytes() for path in Path(place).iterdir()}


def _encode(folder, family):
    side = 2 * family.latent.grid_multiple
    frames = family.latent.temporal_stride + 1 if "latents_image" in family.task.contents else 1
    latent_encoder = family.load_latent_encoder(TINY, device=CPU, dtype=torch.float32)
    text_encoder = family.load_text_encoder(TINY, device=CPU, dtype=torch.float32)
    for number in range(2):
        pixels = seeded(1, 3, frames, side, side, seed=number).clamp(-1, 1)
        controls = [seeded(1, 3, 1, side, side, seed=10 + number).clamp(-1, 1)] * family.task.control_range[0]
        contents = {name: tensor[0] for name, tensor in latent_encoder.encode_item(pixels, controls=controls).items()}
        shares = stripes(*contents["latents"].shape[1:])
        facts = {
            "architecture": family.metadata_name,
            "format_version": "1.0.1",
            "blissmask.arch": family.name,
            "blissmask.task": family.task_name,
        }
        path = folder / latent_name(f"kyla{number}", (side, side), family.cache_suffix)
        write_latents(
            path,
            contents,
            weights_1fhw=weights_of(shares),
            regions_4fhw=shares,
            metadata=facts,
            frame_axis=family.latent.frame_axis,
        )
        images = [[control[0, :, 0] for control in controls]] if family.task.text_sees_controls else None
        (text,) = text_encoder.encode([f"kyla, picture {number}"], images)
        write_text(
            folder / text_name(f"kyla{number}", family.cache_suffix),
            text.tensors,
            variable_length=text.variable_length,
            metadata=facts,
        )
