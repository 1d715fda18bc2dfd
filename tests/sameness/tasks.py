"""What the product makes: every task of every family, and what its data set needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task of a model family, and what its data set needs.

    Attributes:
        family, name: values of ``--arch`` and ``--task``.
        clip_frames: frames of a clip that has two latent frames; 0 where the family makes pictures only.
        controls: fewest and most control pictures of an item.
        experts: names of the denoisers where there are several.
        one_frame: whether one-frame training works with it.
        preview_picture: option of a prompt that names the picture it starts from; empty where there is none.
    """

    family: str
    name: str
    clip_frames: int
    controls: tuple[int, int]
    experts: tuple[str, ...]
    one_frame: bool
    preview_picture: str


def families() -> list[Task]:
    """Return every task of every family of the registry. The only place that imports more than the command line."""
    from blissmask.families.registry import FAMILIES, load_family

    tasks = []
    for name in FAMILIES.names():
        for task_name, task in load_family(name).tasks.items():
            family = load_family(name).for_task(task_name)
            option = "ci" if task.control_range[1] else "i"
            tasks.append(
                Task(
                    name,
                    task_name,
                    clip_frames=family.latent.temporal_stride + 1 if task.takes_videos else 0,
                    controls=task.control_range,
                    experts=tuple(expert.name for expert in task.experts if expert.name),
                    one_frame=task.one_frame,
                    preview_picture=option if family.preview_pipeline().pictures[1] else "",
                )
            )
    return tasks
