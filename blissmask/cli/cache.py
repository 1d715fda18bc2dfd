"""``blissmask cache``."""

from blissmask.cli.commands import Command, Task
from blissmask.families.registry import FAMILIES

CACHE = Command(
    name="cache",
    summary="Encode photos, masks and captions once, for training",
    sections=("model", "cache", "general", "datasets"),
    task=Task(plan="blissmask.tasks.cache.plan", run="blissmask.tasks.cache.run"),
    examples=(
        "blissmask cache --config person.toml --sheet sheet.html",
        "blissmask cache --config person.toml --arch wan22 --model tiny --dry-run",
    ),
    registries={"arch": FAMILIES},
)
