"""Wan 2.1, Wan 2.2 A14B and Wan 2.2 TI2V-5B: text or image to video, and pictures as videos of one frame.

Paper: "Wan: Open and Advanced Large-Scale Video Generative Models", arXiv 2503.20314. Code and weights: the Wan 2.1 and
Wan 2.2 repositories of Wan-Video, and their copies in diffusers layout.

Parts
    VAE             ``AutoencoderKLWan``, causal: 16 channels at stride 8, TI2V-5B 48 channels at stride 16; 4 frames
                    per latent frame after the first. The latents are normalised per channel, ``(z - mean) / std``.
    text encoder    UMT5-XXL (4096 wide) behind cleaning rules, at most 512 tokens. Rows of zeros fill up to 512 and are
                    not masked, as the model was trained: other lengths change the prediction.
    image encoder   CLIP ViT-H/14, Wan 2.1 image-to-video only: the last but one layer, 257 rows of 1280.
    denoiser        ``WanTransformer3DModel``, patches of 1 x 2 x 2. A14B has two experts, which change over at noise
                    level 0.875 (t2v) or 0.9 (i2v): ``dit_high_noise`` and ``dit``, or ``transformer`` and
                    ``transformer_2`` of a diffusers folder.

Tensors that the denoiser takes
    t2v             noisy latents (B, 16, F, H, W); TI2V-5B (B, 48, F, H, W)
    i2v             36 channels: 16 noisy, 4 of frame mask, 16 of the first frame followed by mid-grey
    i2v, TI2V-5B    48 channels; the first latent frame is the picture, without noise and at timestep 0

Conventions: the prediction is noise minus latents; the timestep is 1000 s for a noise level s in [0, 1] (musubi-tuner
trains at 1000 s + 1), TI2V-5B has one per token.

Cached: ``t5`` (L, 4096); for i2v ``latents_image`` (20, F, H, W), TI2V-5B (48, 1, H, W), and for Wan 2.1 ``clip``
(257, 1280); for one-frame items also ``f_indices``, and one ``clip`` per control picture.

Sources: the repositories' code, diffusers' Wan pipelines and transformer, musubi-tuner's cache format. Where a file
names another source, it stands beside the number.
"""
