"""Networks of the package that look at one input once: what they said is kept in a folder, for whoever asks again.

Hundreds of runs look at the same photos, and the networks take most of their time, where it is not they that are tested.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blissmask.vision import session


class RememberedNetwork:
    """A session of onnxruntime, as far as ``vision.session`` uses one."""

    def __init__(self, name: str, opened: Any, folder: Path) -> None:
        self._name, self._opened, self._folder = name, opened, folder
        self.get_inputs = opened.get_inputs

    def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        (array,) = inputs.values()
        seen = hashlib.sha256(f"{self._name} {array.shape}".encode() + array.tobytes()).hexdigest()
        kept = self._folder / seen
        if kept.exists():
            return pickle.loads(kept.read_bytes())
        said = self._opened.run(names, inputs)
        part = self._folder / f"{seen}-{os.getpid()}-{threading.get_ident()}"
        part.write_bytes(pickle.dumps(said))
        part.replace(kept)
        return said


def remembered_networks(folder: Path) -> Callable[[str], RememberedNetwork]:
    """Open all networks, and return what stands where ``vision.session._session`` does."""
    opened = {name: RememberedNetwork(name, session._session(name), folder) for name in session.WEIGHTS_SHA256}
    return opened.__getitem__
