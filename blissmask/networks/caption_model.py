"""A vision-language model that describes photos. H, W: rows and columns; 3 = RGB."""

from __future__ import annotations

import importlib.util
import math
import re
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.errors import InputError, MachineError, MissingPackageError, ModelError, first_line
from blissmask.networks.model_folder import read_config
from blissmask.networks.torch_device import find_device, find_dtype
from blissmask.networks.transformers_model import load_transformer
from blissmask.storage.near_miss import near_miss
from blissmask.storage.ordinary import refuse_special_in

EXAMPLE = "Qwen/Qwen2-VL-2B-Instruct"
"""A small model that would do, under Apache-2.0."""

_WHOLE = f"copy the whole repository, such as `{EXAMPLE}`, with its tokenizer and processor"
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""What prepares pictures for a model: one of these files, new and old layout of transformers."""

_AREA = 1024 * 1024
"""Pixels of a photo that the model is shown: some models cut larger ones into thousands of tokens."""
_LONGEST = 200
"""Tokens of an answer, some 150 words: most families read captions of up to 512 tokens whole."""
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}
"""Quotes that a model may put around its whole answer: the first one -> the last one."""


def check_caption_folder(folder: Path) -> None:
    """Refuse a folder that cannot be a model with its processor, before it is loaded.

    Raises:
        ModelError: there is no such folder, or its configuration or processor is missing.
    """
    if not folder.is_dir():
        wanted = f"name the folder of a vision-language model, such as a copy of `{EXAMPLE}`"
        fix = near_miss(folder, folders=True, same_words=True) or wanted
        raise ModelError("`caption_model` is no folder", where=[folder], fix=fix)
    if not (folder / "config.json").is_file():
        raise ModelError("the caption model's folder holds no `config.json`", where=[folder], fix=_WHOLE)
    read_config(folder)
    if not any((folder / name).is_file() for name in PROCESSORS):
        names = " nor ".join(f"`{name}`" for name in PROCESSORS)
        raise ModelError(f"the caption model's folder holds no processor, neither {names}", where=[folder], fix=_WHOLE)


class CaptionModel:
    """Describes one photo at a time; several threads may ask.

    Args:
        folder: in transformers layout; no code in it is run.
        device: ``auto`` or a name that torch knows; weights are bfloat16 on a GPU and float32 on a CPU.

    Raises:
        ModelError: the folder is no vision-language model, or damaged.
        MissingPackageError: the model needs a package that is not installed.
        MachineError: there is no such device.
    """

    def __init__(self, folder: Path, *, device: str) -> None:
        self._device = find_device(device)
        self._dtype = find_dtype("auto", self._device, on_gpu="bfloat16")
        self._processor = _load_processor(folder)
        self._model = load_transformer("AutoModelForImageTextToText", folder, device=self._device, dtype=self._dtype)
        self._lock = threading.Lock()

    def describe(self, rgb_HW3: NDArray[np.uint8], prompt: str) -> str:
        """Return what the model says of a photo, on one line; the same every time.

        Raises:
            InputError: it says nothing of this photo, or stumbles over it.
            MachineError: out of memory.
        """
        import torch

        rgb_HW3 = _shrunk(rgb_HW3)
        try:
            with self._lock, torch.inference_mode():
                text, cut_off = self._answer(rgb_HW3, prompt)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise MachineError(
                "out of memory while a photo was described", fix="take a smaller model, or `--device cpu`"
            ) from error
        # Whatever a processor, a chat template or a model of the user stumbles over: other photos may do.
        except Exception as error:
            raise InputError(f"the caption model cannot describe this photo: {first_line(error)}") from error
        return _on_one_line(text, cut_off=cut_off)

    def _answer(self, rgb_HW3: NDArray[np.uint8], prompt: str) -> tuple[str, bool]:
        """Return what the model says, and whether it would have said more."""
        inputs = self._inputs(rgb_HW3, prompt).to(self._device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=_LONGEST, do_sample=False)[0].tolist()
        # After the answer: BLIP puts another token before the question.
        asked = inputs["input_ids"][0].tolist()
        tokens = _behind(asked, tokens, special=set(self._processor.tokenizer.all_special_ids))
        return self._processor.decode(tokens, skip_special_tokens=True), len(tokens) >= _LONGEST

    def _inputs(self, rgb_HW3: NDArray[np.uint8], prompt: str) -> Any:
        if getattr(self._processor, "chat_template", None) is not None:
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            prompt = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        return self._processor(text=[prompt], images=[rgb_HW3], return_tensors="pt")


def _load_processor(folder: Path) -> Any:
    import transformers

    try:
        refuse_special_in(folder)
        processor = transformers.AutoProcessor.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (ImportError, AttributeError) as error:
        # transformers 5.23 stumbles with an AttributeError over processors of models that also see videos.
        if importlib.util.find_spec("torchvision") is None:
            raise MissingPackageError(
                "this caption model's processor needs torchvision",
                where=[folder],
                fix="install the one that belongs to your PyTorch, as pytorch.org shows it",
            ) from error
        raise MissingPackageError(
            f"this caption model's processor needs another package: {first_line(error)}", where=[folder]
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"the caption model's processor cannot be loaded: {first_line(error)}"
        raise ModelError(what, where=[folder], fix=_WHOLE) from error
    # Where the files of one half are missing, transformers returns the other one alone.
    if any(getattr(processor, name, None) is None for name in ("tokenizer", "image_processor")):
        kind = type(processor).__name__
        what = f"the caption model's processor, a {kind}, does not take photos and text together"
        raise ModelError(what, where=[folder], fix=_WHOLE)
    return processor


def _behind(asked: list[int], tokens: list[int], *, special: set[int]) -> list[int]:
    """Return the tokens of an answer without those of the question, where the model repeats it.

    Models that only decode repeat what they were asked, BLIP without the special token at its end; those with an
    encoder begin with the answer.
    """
    end = len(asked)
    while end and asked[end - 1] in special and tokens[:end] != asked[:end]:
        end -= 1
    return tokens[end:] if tokens[:end] == asked[:end] else tokens


def _shrunk(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a photo of at most :data:`_AREA` pixels."""
    height, width = rgb_HW3.shape[:2]
    if height * width <= _AREA:
        return rgb_HW3
    scale = math.sqrt(_AREA / (height * width))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb_HW3, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _on_one_line(text: str, *, cut_off: bool) -> str:
    """Return an answer without line breaks and quotes; one that was cut off ends with its last whole sentence."""
    line = _unquoted(" ".join(text.split()), cut_off=cut_off)
    if cut_off:
        whole = re.match(r".*[.!?]", line)
        line = whole[0] if whole else line
    if not line:
        raise InputError(
            "the caption model says nothing of this photo",
            fix="ask it otherwise with `--caption-prompt`, or write this caption yourself",
        )
    return line


def _unquoted(line: str, *, cut_off: bool) -> str:
    """Return a line without the quotes around the whole of it; quotes within it stay."""
    opening, closing = line[:1], _QUOTES.get(line[:1], "")
    inner = line[1:] if cut_off else line[1:].removesuffix(closing)
    around = bool(closing) and (cut_off or len(inner) < len(line) - 1)
    return inner.strip() if around and not {opening, closing} & set(inner) else line
