"""diffusers' ``AutoencoderKLFlux2``, the VAE of FLUX.2: 2 x 2 of its cells are folded into the channels of a latent.

B items, C channels, H and W rows and columns; pixels in RGB from -1 to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import StoredTensor, Tensors, shape_of
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae import kl
from blissmask.families.vae.encoding import without_decoder

if TYPE_CHECKING:
    from torch import Tensor

# A count that only training reads; not every file has it.
_BATCHES = "bn.num_batches_tracked"


def rename(tensors: Tensors) -> Tensors:
    """Return the tensors of ``flux2-vae`` under diffusers' names, from LDM's names or its own."""
    return {_BATCHES: StoredTensor((), _zero), **kl.rename(tensors)}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKLFlux2`` that fit ``tensors`` (diffusers names).

    Raises:
        ModelError: the file has no statistics of latents, as the VAE of FLUX.1 has none.
    """
    shape_of(tensors, "bn.running_mean", source=path, kind="FLUX.2 VAE")
    return kl.config_of(tensors, path)


def _zero() -> Tensor:
    import torch

    return torch.zeros((), dtype=torch.long)


def _tiny() -> Any:
    """Return a miniature of 32 channels and stride 8, with statistics unlike those of fresh layers."""
    import torch
    from diffusers import AutoencoderKLFlux2

    # Decoding in tiles starts at 256 pixels here.
    model = AutoencoderKLFlux2(block_out_channels=(32, 32, 32, 32), layers_per_block=1, sample_size=256)
    model.bn.running_mean.copy_(0.1 * torch.randn(128))
    model.bn.running_var.copy_(0.5 + torch.rand(128))
    return model


VAE = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKLFlux2",
    rename=rename,
    config_of=config_of,
    tiny=_tiny,
    tiny_name="flux2",
    trim=kl.use_smaller_tiles,
)
VAE_ENCODER = without_decoder(VAE)


class Flux2VaeEncoder:
    """Encodes with ``AutoencoderKLFlux2`` as a :class:`blissmask.families.protocol.PixelEncoder`.

    Args:
        vae: on its device and in its dtype.
        latent: geometry of the latents.
    """

    def __init__(self, vae: Any, latent: LatentSpec) -> None:
        self._plain = kl.KlVaeEncoder(vae, latent)
        self._latent = latent
        self._mean_C11 = vae.bn.running_mean.float().view(-1, 1, 1)
        self._std_C11 = (vae.bn.running_var.float() + vae.config.batch_norm_eps).sqrt().view(-1, 1, 1)

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return float32 latents_BC1HW: the mode of the posterior, folded and normalised by the stored statistics."""
        import torch

        with torch.inference_mode():
            unfolded_BCHW = self._plain.encode(pixels_BCFHW)[:, :, 0]
            # The four cells of a channel follow each other row by row, as `pixel_unshuffle` has them.
            folded_BCHW = torch.nn.functional.pixel_unshuffle(unfolded_BCHW, self._latent.subcells)
            return ((folded_BCHW - self._mean_C11) / self._std_C11).unsqueeze(2)  # type: ignore[no-any-return]
