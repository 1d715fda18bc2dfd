"""Z-Image: text to image, for the Base model and Turbo.

Paper: "Z-Image: An Efficient Image Generation Foundation Model with Single-Stream Diffusion Transformer". Code and
weights: the Tongyi-MAI Z-Image repositories, in diffusers layout; ComfyUI's single files.

Parts
    VAE             FLUX.1's ``AutoencoderKL``: 16 channels, stride 8. Its latents are normalised by one shift and one
                    scale. ComfyUI's ``ae.safetensors`` has LDM's names.
    text encoder    Qwen3 4B (2560 wide) in a chat template; the state before its last layer is read.
    denoiser        ``ZImageTransformer2DModel``: 30 single-stream layers on tokens of 2 x 2 latent cells after those of
                    the caption, 2 refiners for each of the two. ComfyUI's file has query, key and value in one layer.

Tensors that the denoiser takes: lists of latents (16, 1, H, W) and of text rows (L, 2560). It pads either to a multiple
of 32 with learned tokens.

Conventions: time runs the other way, t = 1 - s for the noise level s in [0, 1], which the model multiplies by 1000; its
output is latents minus noise. No guidance input. The pipelines add guidance times the difference of the predictions to
the prediction, so that their 4 is 5 in prompts (``--l``), and 0 is 1.

Cached: the latents as the VAE gives them, without the frame axis; ``llm_embed`` (L, 2560), at most 512 rows, those of
the template included.

Base and Turbo have the same layers; a cache serves both. Previews are drawn as Base wants it; Turbo takes
``--l 1 --s 8 --fs 3`` in its prompts. Training Turbo itself undoes its distillation.

Sources: the Z-Image repository (template, shift of the schedulers: 6 for Base, 3 for Turbo), diffusers' pipeline and
transformer, musubi-tuner's cache format and choice of LoRA layers.
"""
