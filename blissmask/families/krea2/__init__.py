"""Krea 2: text to image. Train on RAW; Turbo, its distilled form, is for drawing.

Code and weights: the Krea 2 repository (Krea-2-Raw, Krea-2-Turbo), in original names and in diffusers layout. Licence:
Krea 2 Community License (commercial use below 1 million USD of revenue).

Parts
    VAE             Qwen-Image's: 16 channels, stride 8, normalised per channel
    text encoder    Qwen3-VL-4B-Instruct, language half alone, in Qwen-Image's chat template. The states after 2, 5, 8
                    ... 35 of its 36 layers are all kept. ComfyUI's file is ``qwen3vl_4b``.
    denoiser        ``Krea2Transformer2DModel``, 12.9 B: 28 blocks of one stream (6144 wide, 48 query and 12 key heads)
                    on tokens of 2 x 2 latent cells; 4 small blocks before them fuse the 12 states of each text row.
                    Original names, with or without ComfyUI's prefix, bf16 and fp8_scaled: :mod:`names`.

Tensors that the denoiser takes: tokens (B, H/2 * W/2, 64), text rows (B, L, 12, 2560) and their mask, positions
(L + N, 3): zeros for text, then (0, row, column) of each token.

Conventions: the prediction is noise minus latents; the timestep is the noise level s in [0, 1]. There is no guidance
input. The pipeline's guidance of 4.5 is added to the prediction, so it is 5.5 as a scale of classifier-free guidance
(``--l``). RAW without guidance is blurry by nature.

Noise levels: inference shifts them by ``exp(mu)``, mu linear in the tokens from 0.5 (256 px) to 1.15 (1280 px): 2.475
at 1024 px, hence the default shift. ``timestep_sampling = "krea2_shift"`` follows the size of each picture. Turbo is
drawn with 8 steps, without guidance, at mu 1.15: ``--s 8 --l 1 --fs 3.16``.

LoRA: all 264 linear layers, as the authors recommend, with rank = alpha = 32. For long runs they adapt the attention of
the 28 blocks alone: ``exclude_patterns`` ``.*mlp.*``, ``first``, ``last.*``, ``tmlp.*``, ``tproj.*``, ``txtmlp.*``,
``txtfusion.*``. Native files hold no alpha, which the loader of diffusers refuses: the scale is in B.

Cached: ``krea2_vl_embed`` (L, 12, 2560), the rows after the template's head: at most 507 of the caption and the 5 of
the template's tail. The reference pads between caption and tail and gives the padding no position; without padding the
states are the same. musubi-tuner counts the padding, so the last 5 rows of its caches differ.

Sources: diffusers' Krea2Pipeline, Krea2Transformer2DModel and LoRA loader, musubi-tuner's Krea 2 trainer and cache
format, the configuration of Qwen3-VL-4B-Instruct.
"""
