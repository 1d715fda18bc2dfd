"""What a semantic backend is, and all of them by name: pictures in, class numbers out.

Parts are the parts of a person that a backend tells apart, its classes. A part of a model family, such as its VAE, is
another thing.

Shapes: H, W rows and columns of the (oriented) photo; 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.plugins import Registry

if TYPE_CHECKING:
    # The command line reads the registry for its help screens, which must not wait for numpy.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Parsed:
    """The classes of one photo.

    Attributes:
        labels_HW: uint8 class numbers, positions in the backend's ``classes``; same size as the photo.
        people: number of people that the backend found, None when it does not count them.
        faces: number of faces that it found and that are in ``labels_HW``, None when it does not count them.
        limbs: number of people of whom an elbow, wrist, knee or ankle is seen, None when it does not look for them.
        in_front: share of the photo, 0..1, that is body in ``labels_HW`` and may be a thing in front of one; None when
            the backend does not look for it.
    """

    labels_HW: NDArray[np.uint8]
    people: int | None = None
    faces: int | None = None
    limbs: int | None = None
    in_front: float | None = None


class PartsBackend(Protocol):
    """A semantic backend.

    A file in ``parsing/`` is one when it defines ``backend(options: MasksSection) -> PartsBackend``.

    Attributes:
        tiers: tier of every class by name; ``--map NAME=TIER`` overrides entries.
        licence: licence of the weights.
        identity: names the weights and their version, for fingerprints; changes when results would.
        thread_safe: whether several threads may call at once; otherwise photos are processed one at a time.
    """

    tiers: Mapping[str, WeightTier]
    licence: Licence
    identity: str
    thread_safe: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names; a label is a position in them."""

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        """Parse a batch of RGB photos of any sizes; one result per photo, the same as if given alone."""


PARSING = Registry(package="blissmask.parsing", marker="backend", noun="mask backend")
"""The semantic backends by name: a file of this folder that defines ``backend(...)`` is one."""
