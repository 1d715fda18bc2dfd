"""Qwen-Image: text to image; Qwen-Image-Edit: edit control pictures by instruction (2511, 2509 and the first).

Paper: "Qwen-Image Technical Report", arXiv 2508.02324. Code and weights: the Qwen-Image
repository, in diffusers layout. Qwen-Image-2512 is the same model trained on: its files differ in weights alone.

Parts
    VAE             ``AutoencoderKLQwenImage``, the network of Wan 2.1's VAE: 16 channels, stride 8, normalised per
                    channel. ComfyUI's file has Wan's names.
    text encoder    Qwen2.5-VL 7B (3584 wide) in a chat template, whose head is dropped from the states. Qwen-Image uses
                    the language half alone; the Edit models show it the control pictures as well.
    denoiser        ``QwenImageTransformer2DModel``, on tokens of 2 x 2 latent cells. Edit-2511 gives the tokens of
                    control pictures timestep 0 (``zero_cond_t``); a marker in its single file says so.

Tensors that the denoiser takes
    Qwen-Image      tokens (B, H/2 * W/2, 64), text rows (B, L, 3584) and their mask
    Edit            the same, with the tokens of each control picture after those of the target; what is predicted for
                    them is cut off

Conventions: the prediction is noise minus latents; the timestep is the noise level s in [0, 1], which the model
multiplies by 1000. The last block's text stream is thrown away, so its layers are never adapted.

Cached: ``vl_embed`` (L, 3584); for Edit models ``latents_control_0`` and on (16, 1, h, w), each of its own size. The
wording of the template and the size of pictures count in fingerprints: other ones give other embeddings.

Sources: the Qwen-Image repository, diffusers' Qwen-Image pipelines and transformer, transformers' image processor of
Qwen2-VL, musubi-tuner's cache format.
"""
