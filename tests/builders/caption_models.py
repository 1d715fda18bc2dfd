"""Vision-language models of real classes in miniature, with their processors, in the layout of transformers."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

_CHAT = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def write_caption_model(folder: Path) -> Path:
    """Write a Llava of two layers with random weights, whose tokens are bytes; return its folder."""
    tokenizer = _byte_tokenizer("<image>")
    image = tokenizer.convert_tokens_to_ids("<image>")
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(
        transformers.LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=image,
            vision_feature_select_strategy="full",
            vision_feature_layer=-1,
        )
    )
    with torch.no_grad():
        # It answers with letters alone, as if it could speak.
        head = model.lm_head.weight
        spoken = set(tokenizer.convert_tokens_to_ids(list("abcdefgh")))
        for token in range(len(tokenizer)):
            head[token] *= 40.0 if token in spoken else 0.0
        # What it says depends on what it sees.
        model.model.multi_modal_projector.linear_2.weight *= 100.0
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight *= 100.0
    model.save_pretrained(folder)
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=_CHAT,
    )
    processor.save_pretrained(folder)
    return folder


def write_blip(folder: Path) -> Path:
    """Write a BLIP of one layer with random weights, which says letters alone; return its folder."""
    tokenizer = _byte_tokenizer("<begin>")
    begin, end = tokenizer.convert_tokens_to_ids(["<begin>", "<end>"])
    # As BERT's, which puts a token before a text and one behind it.
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<begin> $A <end>", special_tokens=[("<begin>", begin), ("<end>", end)]
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": len(tokenizer), "encoder_hidden_size": 16, "projection_dim": 16}
    text |= {"bos_token_id": begin, "sep_token_id": end, "pad_token_id": end, "max_position_embeddings": 512}
    vision = {**sizes, "image_size": 28, "patch_size": 14, "projection_dim": 16}
    torch.manual_seed(0)
    model = transformers.BlipForConditionalGeneration(
        transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    )
    with torch.no_grad():
        spoken = torch.tensor(tokenizer.convert_tokens_to_ids(list("bcdf")))
        model.text_decoder.cls.predictions.bias[spoken] += 100.0
    model.save_pretrained(folder)
    pictures = transformers.BlipImageProcessor(size={"height": 28, "width": 28})
    transformers.BlipProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def _byte_tokenizer(*special: str) -> transformers.PreTrainedTokenizerFast:
    names = ["<end>", *special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", additional_special_tokens=list(special)
    )
