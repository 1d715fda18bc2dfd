"""``blissmask instance``."""

from blissmask.cli.commands import Command, Task
from blissmask.people.faces.face_reader import IDENTITIES
from blissmask.people.people_backend import PEOPLE

INSTANCE = Command(
    name="instance",
    summary="Find one person in group photos and outline nobody else",
    sections=("instance",),
    task=Task(plan="blissmask.tasks.instance.plan", run="blissmask.tasks.instance.run"),
    examples=(
        "blissmask instance --input photos --output subject --reference kyla.jpg",
        "blissmask instance -i photos -o subject -r refs --review unsure",
    ),
    registries={"backend": PEOPLE, "identity": IDENTITIES},
)
