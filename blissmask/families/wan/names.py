"""Names of Wan's modules in the original repository and in diffusers or transformers.

Left: github.com/Wan-Video (and ComfyUI, which keeps these names). Right: diffusers' WanTransformer3DModel and
AutoencoderKLWan, and transformers' CLIPVisionModel. UMT5's are in `encoders/t5`.
"""

from __future__ import annotations

from blissmask.families.files.keymap import KeyMap, below, qkv_pairs
from blissmask.families.files.stored_tensors import Tensors, count_of, with_qkv_apart

DENOISER = KeyMap(
    [
        ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
        ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
        ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
        ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
        ("time_projection.1", "condition_embedder.time_proj"),
        ("img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
        ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
        ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
        ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
        ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
        ("head.modulation", "scale_shift_table"),
        ("head.head", "proj_out"),
        ("blocks.{}.modulation", "blocks.{}.scale_shift_table"),
        ("blocks.{}.self_attn.q", "blocks.{}.attn1.to_q"),
        ("blocks.{}.self_attn.k", "blocks.{}.attn1.to_k"),
        ("blocks.{}.self_attn.v", "blocks.{}.attn1.to_v"),
        ("blocks.{}.self_attn.o", "blocks.{}.attn1.to_out.0"),
        ("blocks.{}.cross_attn.q", "blocks.{}.attn2.to_q"),
        ("blocks.{}.cross_attn.k", "blocks.{}.attn2.to_k"),
        ("blocks.{}.cross_attn.v", "blocks.{}.attn2.to_v"),
        ("blocks.{}.cross_attn.o", "blocks.{}.attn2.to_out.0"),
        ("blocks.{}.cross_attn.k_img", "blocks.{}.attn2.add_k_proj"),
        ("blocks.{}.cross_attn.v_img", "blocks.{}.attn2.add_v_proj"),
        ("blocks.{}.cross_attn.norm_k_img", "blocks.{}.attn2.norm_added_k"),
        ("blocks.{}.self_attn", "blocks.{}.attn1"),
        ("blocks.{}.cross_attn", "blocks.{}.attn2"),
        ("blocks.{}.ffn.0", "blocks.{}.ffn.net.0.proj"),
        ("blocks.{}.ffn.2", "blocks.{}.ffn.net.2"),
        # The second and third norm stand in the other order; only the one before cross-attention has weights.
        ("blocks.{}.norm3", "blocks.{}.norm2"),
        ("blocks.{}.norm2", "blocks.{}.norm3"),
    ]
)

_CLIP = KeyMap(
    [
        ("visual.cls_embedding", "embeddings.class_embedding"),
        ("visual.patch_embedding", "embeddings.patch_embedding"),
        ("visual.pos_embedding", "embeddings.position_embedding.weight"),
        ("visual.pre_norm", "pre_layrnorm"),
        ("visual.post_norm", "post_layernorm"),
        ("visual.transformer.{}.norm1", "encoder.layers.{}.layer_norm1"),
        ("visual.transformer.{}.norm2", "encoder.layers.{}.layer_norm2"),
        *qkv_pairs("visual.transformer.{}.attn.to_qkv", "encoder.layers.{}.self_attn.*_proj"),
        ("visual.transformer.{}.attn.proj", "encoder.layers.{}.self_attn.out_proj"),
        ("visual.transformer.{}.mlp.0", "encoder.layers.{}.mlp.fc1"),
        ("visual.transformer.{}.mlp.2", "encoder.layers.{}.mlp.fc2"),
    ]
)

_RESIDUAL = (
    ("residual.0", "norm1"),
    ("residual.2", "conv1"),
    ("residual.3", "norm2"),
    ("residual.6", "conv2"),
    ("shortcut", "conv_shortcut"),
)


def _residual(original: str, diffusers: str) -> list[tuple[str, str]]:
    return below(original, diffusers, _RESIDUAL)


def _ends(side: str) -> list[tuple[str, str]]:
    return [
        (f"{side}.conv1", f"{side}.conv_in"),
        (f"{side}.head.0", f"{side}.norm_out"),
        (f"{side}.head.2", f"{side}.conv_out"),
        *_residual(f"{side}.middle.0", f"{side}.mid_block.resnets.0"),
        (f"{side}.middle.1", f"{side}.mid_block.attentions.0"),
        *_residual(f"{side}.middle.2", f"{side}.mid_block.resnets.1"),
    ]


_VAE_ENDS = [("conv1", "quant_conv"), ("conv2", "post_quant_conv"), *_ends("encoder"), *_ends("decoder")]


def wan21_vae(stages: int, residual_blocks: int) -> KeyMap:
    """Return the map of the Wan 2.1 VAE, whose original lists are flat.

    Args:
        stages: resolutions of the network, 4.
        residual_blocks: residual blocks per stage of the encoder, 2; the decoder has one more.
    """
    pairs = [
        *_VAE_ENDS,
        *_residual("encoder.downsamples.{}", "encoder.down_blocks.{}"),
        ("encoder.downsamples.{}", "encoder.down_blocks.{}"),
    ]
    for stage in range(stages):
        first = stage * (residual_blocks + 2)
        for block in range(residual_blocks + 1):
            pairs += _residual(f"decoder.upsamples.{first + block}", f"decoder.up_blocks.{stage}.resnets.{block}")
        pairs.append((f"decoder.upsamples.{first + residual_blocks + 1}", f"decoder.up_blocks.{stage}.upsamplers.0"))
    return KeyMap(pairs)


def wan22_vae(stages: int, residual_blocks: int) -> KeyMap:
    """Return the map of the Wan 2.2 VAE (TI2V-5B), whose original lists are nested; arguments as :func:`wan21_vae`."""
    pairs = list(_VAE_ENDS)
    for stage in range(stages):
        for side, plural, blocks, singular, count in (
            ("encoder", "downsamples", "down_blocks", "downsampler", residual_blocks),
            ("decoder", "upsamples", "up_blocks", "upsampler", residual_blocks + 1),
        ):
            for block in range(count):
                pairs += _residual(
                    f"{side}.{plural}.{stage}.{plural}.{block}", f"{side}.{blocks}.{stage}.resnets.{block}"
                )
            pairs.append((f"{side}.{plural}.{stage}.{plural}.{count}", f"{side}.{blocks}.{stage}.{singular}"))
    return KeyMap(pairs)


def rename_denoiser(tensors: Tensors) -> Tensors:
    """Return the tensors of a denoiser under diffusers' names: of any Wan size and task, in any layout."""
    return DENOISER.rename(tensors) if "blocks.0.self_attn.q.weight" in tensors else tensors


def rename_vae(tensors: Tensors) -> Tensors:
    """Return the tensors of a VAE under diffusers' names, whichever layout they came in."""
    tensors = {name.removeprefix("vae."): tensor for name, tensor in tensors.items()}
    if "encoder.conv1.weight" not in tensors:
        return tensors
    stages = count_of(tensors, "encoder.downsamples.")
    nested = count_of(tensors, "encoder.downsamples.0.downsamples.")
    if nested:
        first = [f"encoder.downsamples.0.downsamples.{i}.residual.2.weight" in tensors for i in range(nested)]
        return wan22_vae(stages, residual_blocks=first.count(True)).rename(tensors)
    # The flat list of 2.1: residual blocks, and one down-sampler between two stages.
    is_residual = [f"encoder.downsamples.{i}.residual.2.weight" in tensors for i in range(stages)]
    downsamplers = is_residual.count(False)
    blocks_before_first = is_residual.index(False)
    return wan21_vae(downsamplers + 1, residual_blocks=blocks_before_first).rename(tensors)


def rename_clip(tensors: Tensors) -> Tensors:
    """Return the tensors of CLIP's image half under transformers' names.

    Reads Wan's ``models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`` and ComfyUI's ``clip_vision_h``.
    """
    wanted = {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}
    if "visual.patch_embedding.weight" not in wanted:
        return wanted
    for name, axes in (("visual.cls_embedding", 1), ("visual.pos_embedding", 2)):
        if name in wanted:
            wanted[name] = wanted[name].reshaped(wanted[name].shape[-axes:])
    return _CLIP.rename(with_qkv_apart(wanted, ".attn.to_qkv"))
