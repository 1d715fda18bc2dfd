"""``blissmask apply``."""

from blissmask.cli.commands import Command, Task

APPLY = Command(
    name="apply",
    summary="Set everybody but the subject to weight 0: weighted masks times subject masks",
    sections=("apply",),
    task=Task(plan="blissmask.tasks.apply.plan", run="blissmask.tasks.apply.run"),
    examples=(
        "blissmask apply --weighted-masks masks --instance-masks subject -o final",
        "blissmask apply --config group.toml --grow 4 --dry-run",
    ),
)
