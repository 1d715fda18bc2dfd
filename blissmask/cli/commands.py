"""The six subcommands: their sections of the configuration, their tasks, and the examples that end their help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blissmask.families.registry import FAMILIES
from blissmask.parsing.parts_backend import PARSING
from blissmask.people.faces.face_reader import IDENTITIES
from blissmask.people.people_backend import PEOPLE
from blissmask.plugins import Registry

if TYPE_CHECKING:
    from blissmask.config.model import Config

CONFIG_SECTIONS_OF_ALL = ("run",)


@dataclass(frozen=True, slots=True)
class Task:
    """Where the work of a command is written; both modules are imported when they are needed.

    Attributes:
        plan: dotted name of the module with ``outputs(config)``, the folders to lock, and ``plan(config) -> Plan``.
        run: dotted name of the module with ``run(plan, context) -> Summary``.
    """

    plan: str
    run: str


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """One subcommand.

    Attributes:
        name: as typed.
        summary: one line in the imperative, shown in the list of commands and at the top of its help.
        sections: configuration sections whose fields are its flags, besides ``run``.
        only: section -> the fields of it that mean something to this command; all where it is not named.
        task: what does the work.
        other_tasks: (section, field) -> what does the work instead when that field is given, or a switch is on; the
            first one counts.
        examples: two command lines for the end of the help screen.
        registries: field whose values are the names of a registry -> that registry; it is read only for help and
            completion.
    """

    name: str
    summary: str
    sections: tuple[str, ...]
    task: Task
    examples: tuple[str, ...]
    registries: Mapping[str, Registry] = field(default_factory=dict)
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other_tasks: Mapping[tuple[str, str], Task] = field(default_factory=dict)

    def task_for(self, config: Config) -> Task:
        """Return the task that does what ``config`` asks for."""
        for (section, name), task in self.other_tasks.items():
            if getattr(getattr(config, section), name) not in (None, False):
                return task
        return self.task


MASKS = Command(
    name="masks",
    summary="Make weighted masks from photos: face 255, body 128, hair 80, background 0",
    sections=("masks",),
    task=Task(plan="blissmask.tasks.masks.plan", run="blissmask.tasks.masks.run"),
    other_tasks={("masks", "retouch"): Task(plan="blissmask.tasks.masks.retouch", run="blissmask.tasks.masks.retouch")},
    examples=(
        "blissmask masks --input photos --output masks --sheet sheet.png",
        "blissmask masks --config person.toml --hair 128 --map others=background",
    ),
    registries={"backend": PARSING},
)

INSTANCE = Command(
    name="instance",
    summary="Find one person in group photos and outline nobody else",
    sections=("instance",),
    task=Task(plan="blissmask.tasks.instance.plan", run="blissmask.tasks.instance.run"),
    other_tasks={
        ("instance", "retouch"): Task(plan="blissmask.tasks.instance.retouch", run="blissmask.tasks.instance.retouch")
    },
    examples=(
        "blissmask instance --input photos --output subject --reference kyla.jpg",
        "blissmask instance -i photos -o subject -r refs --review unsure",
    ),
    registries={"backend": PEOPLE, "identity": IDENTITIES},
)

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

CACHE = Command(
    name="cache",
    summary="Encode photos, masks and captions once, for training",
    sections=("model", "cache", "general", "datasets"),
    task=Task(plan="blissmask.tasks.cache.plan", run="blissmask.tasks.cache.run"),
    other_tasks={("cache", "captions"): Task(plan="blissmask.tasks.captions.plan", run="blissmask.tasks.captions.run")},
    examples=(
        "blissmask cache --sheet sheet.html",
        "blissmask cache --config person.toml --arch NAME --model tiny --dry-run",
    ),
    registries={"arch": FAMILIES},
)

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
        "combine",
        "previews",
        "ranking",
        "logging",
        "general",
        "datasets",
    ),
    task=Task(plan="blissmask.tasks.train.plan", run="blissmask.tasks.train.train_lora"),
    other_tasks={
        ("saving", "convert_lora"): Task(
            plan="blissmask.tasks.convert_lora.convert_lora", run="blissmask.tasks.convert_lora.convert_lora"
        ),
        ("ranking", "rank_loras"): Task(
            plan="blissmask.tasks.rank_loras.plan", run="blissmask.tasks.rank_loras.rank_loras"
        ),
        ("ranking", "rank_items"): Task(
            plan="blissmask.tasks.rank_items.rank_items", run="blissmask.tasks.rank_items.rank_items"
        ),
        ("mask_loss", "like"): Task(
            plan="blissmask.tasks.train_like.train_like", run="blissmask.tasks.train_like.train_like"
        ),
    },
    examples=(
        "blissmask train --prepare --model tiny --max-train-steps 10",
        "blissmask train --config person.toml --mask-preset person-prior",
    ),
    registries={"arch": FAMILIES},
    only={
        "general": (
            "batch_size",
            "num_repeats",
            "shuffle_caption",
            "keep_tokens",
            "caption_orders",
            "caption_dropout_rate",
        ),
        "datasets": ("cache_directory",),
    },
)

COMMANDS = (MASKS, INSTANCE, APPLY, TO_ALPHA, CACHE, TRAIN)
"""In the order of the help."""
