"""Choose a task of a family."""

from __future__ import annotations

from typing import Protocol

from blissmask.errors import UsageError


class _Family(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def tasks(self) -> tuple[str, ...]: ...


def checked_task(family: _Family, task: str) -> str:
    """Return ``task``, or the family's first when it is empty.

    Raises:
        UsageError: the family has no such task; names those it has.
    """
    if not task:
        return family.tasks[0]
    if task not in family.tasks:
        raise UsageError(f"`{family.name}` has no task `{task}`", fix=f"there are {', '.join(family.tasks)}")
    return task
