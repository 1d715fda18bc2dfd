"""Options of backends whose weights the user brings: the same fields in [masks] and [instance]."""

from __future__ import annotations

from typing import Literal, Protocol

from blissmask.config.fields.option import Section, option
from blissmask.errors import UsageError

_PANEL = "Network"

Precision = Literal["auto", "float32", "float16", "bfloat16"]

MODEL = option(
    None,
    "Weights of the backend: a file, a model folder or a hub id, as the backend wants; the embedded one brings its own",
    panel=_PANEL,
    metavar="FILE|FOLDER|ID",
)
DOWNLOAD = option(False, "Allow fetching a hub model from the network", panel=_PANEL)
DEVICE = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1", panel=_PANEL)
PRECISION = option(
    "auto", "Precision of the weights; auto is float32 on a CPU and half precision on a GPU", panel=_PANEL
)
BATCH_SIZE = option(1, "Pictures that go through the network together, at most `--jobs`", panel=_PANEL, ge=1)


class NetworkOptions(Protocol):
    """The fields above, as a section holds them."""

    @property
    def model(self) -> str | None:
        """A file, a folder or a hub id; None when not given."""

    @property
    def download(self) -> bool:
        """Whether a hub id may be fetched."""

    @property
    def device(self) -> str:
        """``auto`` or a name that torch knows."""

    @property
    def precision(self) -> Precision:
        """Precision of the weights."""

    @property
    def batch_size(self) -> int:
        """Pictures per batch, >= 1."""


def refuse_network_options(section: Section) -> None:
    """Refuse the network options for a backend that brings its own networks and runs them on the CPU, in float32.

    Raises:
        UsageError: some were given; they are named.
    """
    fitting = {"model": (None,), "device": ("auto", "cpu"), "precision": ("auto", "float32")}
    given = [f"`--{name}`" for name, values in fitting.items() if getattr(section, name) not in values]
    if given:
        raise UsageError(
            "the embedded backend brings its own networks and runs them on the CPU: "
            f"it takes no such {', '.join(given)}",
            fix="leave them out, or choose another `--backend`",
        )
