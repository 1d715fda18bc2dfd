"""``blissmask to-alpha``."""

from blissmask.cli.commands import Command, Task

TO_ALPHA = Command(
    name="to-alpha",
    summary="Put masks into the alpha channel of the photos, so that they can never come apart",
    sections=("to_alpha",),
    task=Task(plan="blissmask.tasks.to_alpha.plan", run="blissmask.tasks.to_alpha.run"),
    examples=(
        "blissmask to-alpha --image-directory photos --mask-directory masks -o rgba",
        "blissmask to-alpha --config alpha.toml --dry-run",
    ),
)
