"""``blissmask cache``."""

from blissmask.archs.registry import ARCHS
from blissmask.cli.choices import list_members
from blissmask.cli.commands import Command

CACHE = Command(
    name="cache",
    summary="Encode photos, masks and captions once, for training",
    sections=("model", "cache", "general", "datasets"),
    task="blissmask.tasks.cache.build_cache",
    examples=(
        "blissmask cache --config person.toml --arch wan22 --vae wan_2.1_vae.safetensors --text-encoder umt5_xxl.safetensors",
        "blissmask cache --config person.toml --arch wan22 --model tiny --dry-run",
    ),
    choices=lambda: list_members("--arch", ARCHS),
)
