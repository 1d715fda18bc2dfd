"""FLUX.2: text to image, and edits of reference pictures; klein 4B, klein 9B and dev.

Code: the FLUX.2 repository of Black Forest Labs. Weights: FLUX.2-klein-base-4B (Apache-2.0), FLUX.2-klein-base-9B and
FLUX.2-dev (non-commercial). The klein models without "base" are distilled to four steps, and for drawing only.

Parts
    VAE             ``AutoencoderKLFlux2``: 32 channels, stride 8. Its cells are folded 2 x 2 into 128 channels (channel
                    ``c * 4 + row * 2 + column``), and normalised by statistics that are stored with the weights:
                    ``(z - running_mean) / sqrt(running_var + 1e-4)``.
    text encoder    klein: Qwen3 4B or 8B in a chat whose answer begins with an empty thought, states after 9, 18 and 27
                    layers; dev: the language half of Mistral Small 3.1, states after 10, 20 and 30 layers. The three
                    stand side by side in each of 512 rows, padding included: the denoiser attends to all of them.
    denoiser        ``Flux2Transformer2DModel``: double blocks, then single blocks; their modulation is shared by all
                    blocks. dev is distilled for guidance, a scale that it takes as an input; training gives it 1.

Tensors that the denoiser takes: tokens (B, H * W, 128) of latents (B, 128, 1, H, W), one for each latent cell, then
those of reference pictures; ``ctx_vec`` (B, 512, 7680 | 12288 | 15360); positions (time, row, column, text row).
Reference pictures stand at times 10, 20 and on.

Masks: a cell of 16 pixels holds four of 8 pixels in its channels, so that weights are cached and trained at 8 pixels
(``LatentSpec.subcells``). ``mask_weights`` of the cache stay one for each cell of 16 pixels, for other trainers.

Conventions: the prediction is noise minus latents; the timestep is the noise level s in [0, 1], which the model
multiplies by 1000, as it does the guidance scale.

Cached: latents (128, H, W), the mode of the posterior; ``ctx_vec`` (512, D); for edits ``latents_control_0`` and on.

Sources: diffusers' Flux2Pipeline, Flux2KleinPipeline and transformer; musubi-tuner's cache format and model names.
"""
