"""``blissmask cache``."""

from blissmask.cli.commands import Command
from blissmask.families.registry import ARCHS

CACHE = Command(
    name="cache",
    summary="Encode photos, masks and captions once, for training",
    sections=("model", "cache", "general", "datasets"),
    task="blissmask.tasks.cache.build_cache",
    examples=(
        "blissmask cache --config person.toml --sheet sheet.html",
        "blissmask cache --config person.toml --arch wan22 --model tiny --dry-run",
    ),
    registries={"arch": ARCHS},
)
