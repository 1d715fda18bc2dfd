"""HunyuanVideo: text to video and images.

Paper: "HunyuanVideo: A Systematic Framework For Large Video Generative Models", arXiv 2412.03603. Code and weights: the
HunyuanVideo repository.

Parts
    VAE             ``AutoencoderKLHunyuanVideo``, causal: 16 channels, stride 8, 4 frames per latent frame after the
                    first. Latents are cached as it gives them, and multiplied by 0.476986 for training.
    text encoder    Llama 3 8B (4096 wide) in a template, of whose states those before the last two layers are read; 256
                    rows, zeros and a mask after a caption's end.
    text encoder 2  CLIP-L's text half: one vector of 768 for the whole caption.
    denoiser        ``HunyuanVideoTransformer3DModel``: double blocks, then single blocks, whose original layers hold
                    query, key, value and the feed-forward together. It is distilled for guidance, and takes 1000 times
                    the scale as an input, as the repository, diffusers and ComfyUI show it. musubi-tuner trains with
                    the scale itself, so that its default of 1 is a thousandth of ours.

Tensors that the denoiser takes: noisy latents (B, 16, F, H, W), ``llm`` (B, 256, 4096), its mask, ``clipL`` (B, 768).

Conventions: the prediction is noise minus latents; the timestep is 1000 s for a noise level s in [0, 1].

Cached: ``llm`` (256, 4096), ``llm_mask`` (256), ``clipL`` (768). Latents are the mode of the posterior; musubi-tuner
draws a sample.

Sources: the HunyuanVideo repository, diffusers' HunyuanVideo pipeline and transformer, musubi-tuner's cache format.
"""
