"""Models of the Hugging Face hub: from this machine's cache, or downloaded when the user allows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blissmask.errors import MachineError, ModelError, first_line
from blissmask.storage.near_miss import near_miss


def hub_folder(name: str, *, patterns: Sequence[str], needed: str, download: bool) -> Path:
    """Return the folder on this machine that holds a hub model.

    Args:
        name: the user's text, which is not a folder.
        patterns: files to download, e.g. ``vae/*``.
        needed: a file or folder that a downloaded model has, e.g. ``vae``.
        download: whether a download is allowed.

    Raises:
        ModelError: the name is no hub id, or the model is not on this machine and may not be downloaded.
        MachineError: the download failed.
    """
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"`{name}` is neither a folder nor a hub id", fix="give a model folder, or an id such as `OWNER/NAME`"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=not download))
    except LocalEntryNotFoundError as error:
        if download:
            raise MachineError(
                f"`{name}` cannot be fetched: the hub does not answer", fix="check the network, or name a folder"
            ) from error
        raise _not_here(name) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise MachineError(f"`{name}` cannot be fetched: {first_line(error)}") from error
    # The hub's cache has a folder for a model as soon as any of its files was ever downloaded.
    if not download and not (folder / needed).exists():
        raise _not_here(name)
    return folder


def _not_here(name: str) -> ModelError:
    meant = near_miss(Path(name), folders=True, same_words=True)
    return ModelError(
        f"there is no folder `{name}`, nor a hub model of this name on this machine",
        fix=meant or "correct the path; if it is the id of a hub model, allow fetching it with `--download`",
    )
