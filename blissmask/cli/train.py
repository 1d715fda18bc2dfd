"""``blissmask train``."""

from blissmask.cli.commands import Command, Task
from blissmask.families.registry import FAMILIES

TRAIN = Command(
    name="train",
    summary="Train a LoRA on the cache, each part of a picture as much as its mask says",
    sections=(
        "model",
        "mask_loss",
        "train",
        "memory",
        "lora",
        "optimizer",
        "timesteps",
        "saving",
        "previews",
        "logging",
        "general",
        "datasets",
    ),
    task=Task(plan="blissmask.tasks.train.plan", run="blissmask.tasks.train.train_lora"),
    other_tasks={
        ("saving", "convert_lora"): Task(
            plan="blissmask.tasks.convert_lora.convert_lora", run="blissmask.tasks.convert_lora.convert_lora"
        ),
        ("mask_loss", "like"): Task(plan="blissmask.tasks.train.like", run="blissmask.tasks.train.like"),
    },
    examples=(
        "blissmask train --config person.toml --mask-preset person-prior",
        "blissmask train --use-mask-loss --model tiny --max-train-steps 20",
    ),
    registries={"arch": FAMILIES},
    only={"general": ("batch_size", "num_repeats"), "datasets": ("cache_directory",)},
)
