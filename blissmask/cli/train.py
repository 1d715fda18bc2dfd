"""``blissmask train``."""

from blissmask.archs.registry import ARCHS
from blissmask.cli.choices import list_members
from blissmask.cli.commands import Command

TRAIN = Command(
    name="train",
    summary="Train a LoRA on the cache, each part of a picture as much as its mask says",
    sections=("model", "mask_loss", "train"),
    task="blissmask.tasks.train.train_lora",
    examples=(
        "blissmask train --config person.toml --dit wan2.2_low.safetensors --use-mask-loss --mask-preset person --output-dir out",
        "blissmask train --config person.toml --model tiny --use-mask-loss --max-train-steps 20 --output-dir out",
    ),
    choices=lambda: list_members("--arch", ARCHS),
)
