"""HunyuanVideo 1.5: text or image to video, and pictures as videos of one frame.

Code and weights: the HunyuanVideo-1.5 repository.

Parts
    VAE             ``AutoencoderKLHunyuanVideo15``, causal: 32 channels, stride 16, 4 frames per latent frame after the
                    first. Latents are cached as it gives them, and multiplied by 1.03682 for training.
    text encoder    the language half of Qwen2.5-VL 7B (3584 wide) in a chat template, read before its last two layers;
                    at most 1000 rows of a caption.
    text encoder 2  byT5 small (1472 wide), for words in quotes that are drawn as letters; no rows without quotes.
    image encoder   SigLIP so400m, image-to-video only: 729 rows of 1152.
    denoiser        ``HunyuanVideo15Transformer3DModel``: double blocks only, one token per latent cell.

Tensors that the denoiser takes: 65 channels, 32 noisy, 32 of the first frame followed by zeros and 1 of frame mask;
both texts with their masks; the SigLIP rows. Text-to-video shows zeros in the place of pictures, and a batch is wholly
one or the other: the model decides by all pictures of a batch at once.

Conventions: the prediction is noise minus latents; the timestep is 1000 s for a noise level s in [0, 1].

Cached: ``vl_embed`` (L, 3584), ``byt5_embed`` (L, 1472), where L may be 0; for i2v ``latents_image`` (33, F, H, W) and
``siglip`` (729, 1152).

Sources: the HunyuanVideo-1.5 repository, diffusers' HunyuanVideo15 pipelines and transformer.
"""
