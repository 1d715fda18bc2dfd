"""What there is to say of a model family without its models; the class of a family adds how they are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from blissmask.families.protocol import Expert, LatentSpec
from blissmask.families.tasks import checked_task


@dataclass(frozen=True, kw_only=True)
class Family:
    """The attributes of :class:`blissmask.families.protocol.Architecture`, with the values that most families have.

    Families import what needs torch inside the methods that load: a cache that is fresh is known to be so without it.
    """

    name: str
    cache_suffix: str
    metadata_name: str
    tasks: tuple[str, ...]
    latent: LatentSpec
    default_fps: float
    default_shift: float
    modelspec: str
    one_frame_tasks: tuple[str, ...] = ()
    control_range: tuple[int, int] = (0, 0)
    text_sees_controls: bool = False
    takes_videos: bool = True

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the denoisers for ``task``: one, unless the family has experts."""
        checked_task(self, task)
        return (Expert("", (0.0, 1.0)),)

    def shown_frames(self, task: str) -> int:
        """Return 0: most families predict every latent frame."""
        checked_task(self, task)
        return 0
