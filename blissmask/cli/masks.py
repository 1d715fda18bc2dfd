"""``blissmask masks``."""

from blissmask.cli.commands import Command, Task
from blissmask.parsing.parts_backend import PARSING

MASKS = Command(
    name="masks",
    summary="Make weighted masks from photos: face 255, body 128, hair 80, background 0",
    sections=("masks",),
    task=Task(plan="blissmask.tasks.masks.plan", run="blissmask.tasks.masks.run"),
    examples=(
        "blissmask masks --input photos --output masks --sheet sheet.png",
        "blissmask masks --config person.toml --hair 128 --map others=background",
    ),
    registries={"backend": PARSING},
)
