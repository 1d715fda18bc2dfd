"""SAM 3 through transformers: text prompts in, one mask per thing out.

The semantic and the instance backend ``sam3`` share this. B = pictures; Q = queries, the things that SAM 3 may find; h,
w: rows and columns of its masks. Source of the rules: SAM 3's image processor in transformers (1008 x 1008, mean and
deviation 0.5; the score of a thing is its own times the score of the prompt being in the picture at all).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.network import NetworkOptions
from blissmask.errors import ModelError, first_line
from blissmask.licence import Licence
from blissmask.networks.model_folder import another_model, read_config
from blissmask.networks.preprocessing import Preprocessing
from blissmask.networks.torch_device import find_device, find_dtype
from blissmask.networks.transformers_model import load_transformer

if TYPE_CHECKING:
    import torch

EXAMPLE = "facebook/sam3"
LICENCE = Licence(
    "SAM License", commercial=True, note="Meta's own terms: no military use, among others; the download is gated"
)
MIN_SCORE = 0.5
"""Smallest score of a thing.

Source: the threshold of ``post_process_semantic_segmentation`` in transformers; its threshold for instances is 0.3.
"""

PROMPT_TOKENS = 32
"""Length of a tokenized prompt. Source: SAM 3's processor in transformers."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a prompt names.

    Attributes:
        score: 0..1.
        probability_hw: float32 0..1, over the whole picture.
    """

    score: float
    probability_hw: NDArray[np.float32]


def preprocessing_of(folder: Path) -> Preprocessing:
    """Return the preprocessing of SAM 3; its configuration names the side of the square.

    Raises:
        ModelError: the folder holds another model.
    """
    config = read_config(folder)
    backbone = config.get("vision_config", {}).get("backbone_config", {})
    if config.get("model_type") != "sam3" or not backbone:
        raise another_model(config, "SAM 3", folder=folder, example=EXAMPLE)
    side = int(backbone.get("image_size", 1008))
    return Preprocessing(size_wh=(side, side), mean=(0.5,) * 3, std=(0.5,) * 3)


class Sam3Prompts:
    """SAM 3 with the prompts for which it searches every picture.

    Args:
        folder: model and tokenizer, as published.
        prompts: names of things, e.g. ``("person", "hair")``.
        options: device and precision.

    Raises:
        ModelError: the folder lacks the model or its tokenizer.
    """

    def __init__(self, folder: Path, prompts: Sequence[str], options: NetworkOptions) -> None:
        self._device = find_device(options.device)
        self._dtype = find_dtype(options.precision, self._device, on_gpu="bfloat16")
        self._model = load_transformer("Sam3Model", folder, device=self._device, dtype=self._dtype)
        self._tokens = [
            {name: ids.to(self._device) for name, ids in tokens.items()} for tokens in _tokenize(folder, prompts)
        ]

    def __call__(self, pixels_B3hw: NDArray[np.float32]) -> list[list[list[Found]]]:
        """Return the things of each prompt in each picture, best first."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(pixels_B3hw).to(self._device, self._dtype)
            # The pictures are encoded once for all prompts, which is most of the work.
            features = self._model.get_vision_features(pixel_values=pixels)
            by_prompt = [self._find(tokens, features, len(pixels_B3hw)) for tokens in self._tokens]
        return [[found[picture] for found in by_prompt] for picture in range(len(pixels_B3hw))]

    def _find(self, tokens: dict[str, torch.Tensor], features: Any, count: int) -> list[list[Found]]:
        prompts = {name: ids.expand(count, -1) for name, ids in tokens.items()}
        output = self._model(vision_embeds=features, **prompts)
        scores_BQ = output.pred_logits.float().sigmoid()
        if output.presence_logits is not None:
            scores_BQ = scores_BQ * output.presence_logits.float().sigmoid()
        return [self._kept(scores_BQ[picture], output, picture) for picture in range(count)]

    def _kept(self, scores_Q: torch.Tensor, output: Any, picture: int) -> list[Found]:
        order = scores_Q.argsort(descending=True, stable=True)
        kept = order[scores_Q[order] > MIN_SCORE]
        masks = output.pred_masks[picture, kept].float().sigmoid().cpu().numpy()
        scores = scores_Q[kept].cpu().tolist()
        return [Found(score, mask) for score, mask in zip(scores, masks, strict=True)]


def _tokenize(folder: Path, prompts: Sequence[str]) -> list[dict[str, torch.Tensor]]:
    """Return ids and attention mask of each prompt, (1, PROMPT_TOKENS) each."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"the tokenizer cannot be loaded: {first_line(error)}", where=[folder]) from error
    tokenized = []
    for prompt in prompts:
        tokens = tokenizer(
            [prompt], padding="max_length", max_length=PROMPT_TOKENS, truncation=True, return_tensors="pt"
        )
        tokenized.append({name: tokens[name] for name in ("input_ids", "attention_mask")})
    return tokenized
