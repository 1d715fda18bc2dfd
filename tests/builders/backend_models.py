"""Miniature models of the real classes for the heavyweight backends, in the files that a user would have.

Their weights are random with a fixed seed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from blissmask.parsing.labelsets import FASHN, SAPIENS, SAPIENS2
from tests.builders.onnx_file import OnnxFile

SEGFORMER_LABELS = tuple(FASHN)
SIDE = 64
PROTOTYPES = 32


class PartScores(torch.nn.Module):
    """Scores per class from the colour of small patches, at a quarter of the size, like those of Sapiens."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.score = torch.nn.Conv2d(3, classes, kernel_size=4, stride=4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.score(pixels)


def sapiens_file(folder: Path, *, classes: int = len(SAPIENS), colours: tuple[str, ...] = ()) -> Path:
    """Export a TorchScript file that takes 768 x 1024 pictures.

    With ``colours``, red, green and blue pixels are of the classes with these names.
    """
    torch.manual_seed(1)
    path = folder / "sapiens_tiny_torchscript.pt2"
    network = PartScores(classes).eval()
    if colours:
        with torch.no_grad():
            network.score.weight.zero_()
            network.score.bias.fill_(-2.0)
            network.score.bias[0] = 0.0
            for channel, name in enumerate(colours):
                network.score.weight[list(SAPIENS).index(name), channel] = 1 / 16
                network.score.bias[list(SAPIENS).index(name)] = 0.0
    torch.jit.trace(network, torch.zeros(1, 3, 1024, 768)).save(str(path))
    return path


def _written(model: torch.nn.Module, folder: Path, *, size: object, mean: float | None = None) -> Path:
    """Give the weights some spread, so that results differ from pixel to pixel, and write the folder."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "pos" not in name:
            parameter.data.normal_(std=0.2, generator=generator)
    model.save_pretrained(folder)
    settings: dict[str, object] = {"do_resize": True, "size": size, "do_normalize": True, "resample": 2}
    settings |= {"image_mean": [mean] * 3, "image_std": [mean] * 3} if mean else {}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def sapiens2_folder(folder: Path, *, names: bool = True) -> Path:
    from transformers import Sapiens2Config, Sapiens2ForSemanticSegmentation

    config = Sapiens2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_attention_heads=2,
        num_first_full_attention_layers=1,
        num_last_full_attention_layers=1,
        image_size=[64, 48],
        patch_size=16,
        head_config={
            "upsample_out_channels": [16],
            "upsample_kernel_sizes": [4],
            "conv_out_channels": [16],
            "conv_kernel_sizes": [1],
        },
        **({"id2label": dict(enumerate(SAPIENS2))} if names else {"num_labels": len(SAPIENS2)}),
    )
    return _written(Sapiens2ForSemanticSegmentation(config), folder, size={"height": 64, "width": 48})


def segformer_folder(folder: Path, *, labels: tuple[str, ...] = SEGFORMER_LABELS) -> Path:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(labels)),
    )
    return _written(SegformerForSemanticSegmentation(config), folder, size={"height": SIDE, "width": 48})


def large_segformer_folder(folder: Path) -> Path:
    """Write a SegFormer of the size B5 (82 million weights) for pictures of 512 pixels: what a GPU is measured with."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[3, 6, 40, 3],
        hidden_sizes=[64, 128, 320, 512],
        decoder_hidden_size=768,
        id2label=dict(enumerate(SEGFORMER_LABELS)),
    )
    return _written(SegformerForSemanticSegmentation(config), folder, size={"height": 512, "width": 512})


def mask2former_folder(folder: Path) -> Path:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=24,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=24,
        num_queries=6,
        id2label=dict(enumerate(SEGFORMER_LABELS)),
    )
    size = {"shortest_edge": 48, "longest_edge": 96}
    return _written(Mask2FormerForUniversalSegmentation(config), folder, size=size)


def eomt_folder(folder: Path) -> Path:
    from transformers import EomtConfig, EomtForUniversalSegmentation

    config = EomtConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_blocks=1,
        num_queries=6,
        num_upscale_blocks=1,
        id2label=dict(enumerate(SEGFORMER_LABELS)),
    )
    return _written(EomtForUniversalSegmentation(config), folder, size={"shortest_edge": 64, "longest_edge": 64})


def sam3_folder(folder: Path) -> Path:
    """Write SAM 3 with six queries, for which every prompt is in the picture, and with a tokenizer of single bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Sam3Config, Sam3Model

    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 112,
        "pretrain_image_size": 112,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
    }
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    sizes = [[32, 32], [16, 16], [8, 8]]
    model = Sam3Model(
        Sam3Config(
            vision_config={"backbone_config": backbone, "fpn_hidden_size": 32, "backbone_feature_sizes": sizes},
            text_config=text,
            geometry_encoder_config=small,
            detr_encoder_config=small,
            detr_decoder_config={**small, "num_queries": 6},
            mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
        )
    )
    _written(model, folder, size={"height": 112, "width": 112}, mean=0.5)
    with torch.no_grad():
        model.detr_decoder.presence_head.layer3.bias.fill_(20.0)
    model.save_pretrained(folder)
    letters = ["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)
    return folder


def rfdetr_folder(folder: Path, *, labels: tuple[str, ...] = ("background", "person", "dog")) -> Path:
    from transformers import RfDetrConfig, RfDetrForInstanceSegmentation

    backbone = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "num_windows": 2,
        "out_features": ["stage1", "stage2"],
    }
    config = RfDetrConfig(
        backbone_config=backbone,
        d_model=32,
        decoder_layers=1,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        decoder_ffn_dim=48,
        num_queries=6,
        group_detr=1,
        id2label=dict(enumerate(labels)),
    )
    model = RfDetrForInstanceSegmentation(config)
    _written(model, folder, size={"height": 56, "width": 56})
    with torch.no_grad():
        model.model.class_embed.bias[1] = 3.0
    model.save_pretrained(folder)
    return folder


def yolo_export(
    folder: Path, *, end_to_end: bool = False, names: str = "{0: 'person', 1: 'dog'}", task: str = "segment"
) -> Path:
    """Write an export in Ultralytics' layout with fixed boxes; masks are the bright pixels of the picture.

    Boxes, in a network picture of 64 x 64: a person in the left half (twice, the second one a little worse and
    smaller), a person in the right half, and a dog over everything.
    """
    graph = OnnxFile()
    pooled = graph.node("AveragePool", ["images"], "pooled", kernel_shape=[4, 4], strides=[4, 4])
    weight = np.zeros((PROTOTYPES, 3, 1, 1), np.float32)
    weight[0] = 20.0
    bias = np.zeros(PROTOTYPES, np.float32)
    bias[0] = -30.0
    graph.node(
        "Conv", [pooled, graph.constant("weight", weight), graph.constant("bias", bias)], "output1", kernel_shape=[1, 1]
    )
    corners = np.array([[0, 0, 32, 64], [1, 1, 32, 64], [32, 0, 64, 64], [0, 0, 64, 64]], np.float32)
    scores = np.array([[0.9, 0], [0.8, 0], [0.7, 0], [0, 0.95]], np.float32)
    coefficients = np.zeros((4, PROTOTYPES), np.float32)
    coefficients[:, 0] = 1.0
    if end_to_end:
        rows = np.concatenate(
            [corners, scores.max(axis=1, keepdims=True), scores.argmax(axis=1)[:, None], coefficients], axis=1
        )
        rows = np.delete(rows, 1, axis=0)[None]
    else:
        boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
        rows = np.concatenate([boxes, scores, coefficients], axis=1).T[None]
    graph.node("Identity", [graph.constant("rows", np.ascontiguousarray(rows, np.float32))], "output0")
    path = folder / "tiny-seg.onnx"
    path.write_bytes(
        graph.to_bytes(
            {"images": [1, 3, SIDE, SIDE]},
            {"output0": list(rows.shape), "output1": [1, PROTOTYPES, SIDE // 4, SIDE // 4]},
            {"task": task, "names": names, "imgsz": f"[{SIDE}, {SIDE}]"},
        )
    )
    return path


FACE_SIDE = 192


def insightface_pack(folder: Path) -> Path:
    """Write a pack in the layout of `buffalo_l`: a detector and a recogniser.

    The detector (SCRFD: scores, boxes and points at three strides) finds a face in its picture of 640 x 640 on every
    full-red patch of ``FACE_SIDE`` pixels a side that begins at a multiple of 32. The recogniser (ArcFace) embeds
    colours.
    """
    detector, outputs = OnnxFile(), {}
    stride, cells = 32, 640 // 32
    # A cell's window is centred on its anchor and lies within a patch for the anchor in the middle only.
    window = FACE_SIDE - stride
    pads = [window // 2, window // 2, window // 2 - stride, window // 2 - stride]
    seen = detector.node(
        "AveragePool",
        ["input.1"],
        "seen",
        kernel_shape=[window] * 2,
        strides=[stride] * 2,
        pads=pads,
        count_include_pad=1,
    )
    weight = np.zeros((2, 3, 1, 1), np.float32)
    weight[0, 0] = 50.0
    logits = [seen, detector.constant("weight", weight), detector.constant("bias", np.array([-45, -9], np.float32))]
    scores = detector.node("Sigmoid", [detector.node("Conv", logits, "logits", kernel_shape=[1, 1])], "scores")
    by_cell = detector.node("Transpose", [scores], "by_cell", perm=[0, 2, 3, 1])
    fixed = {"score": [0.0], "box": [FACE_SIDE / 2 / stride] * 4, "points": [-1, -1, 1, -1, 0, 0, -1, 1, 1, 1]}
    for kind, row in fixed.items():
        for level in (8, 16, 32):
            name, count = f"{kind}{level}", (640 // level) ** 2 * 2
            if name == "score32":
                detector.node(
                    "Reshape", [by_cell, detector.constant("column", np.array([cells * cells * 2, 1], np.int64))], name
                )
            else:
                detector.node(
                    "Identity",
                    [detector.constant(f"rows_{name}", np.tile(np.array(row, np.float32), (count, 1)))],
                    name,
                )
            outputs[name] = [count, len(row)]
    (folder / "det_tiny.onnx").write_bytes(detector.to_bytes({"input.1": [1, 3, 640, 640]}, outputs))
    recogniser = OnnxFile()
    pooled = recogniser.node("AveragePool", ["input.1"], "pooled", kernel_shape=[28, 28], strides=[28, 28])
    flat = recogniser.node("Flatten", [pooled], "flat", axis=1)
    weight = np.random.default_rng(0).normal(size=(48, 512)).astype(np.float32)
    recogniser.node("MatMul", [flat, recogniser.constant("weight", weight)], "embedding")
    (folder / "rec_tiny.onnx").write_bytes(
        recogniser.to_bytes({"input.1": ["batch", 3, 112, 112]}, {"embedding": ["batch", 512]})
    )
    return folder
