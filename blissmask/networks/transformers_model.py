"""Load a transformers model from a folder, strictly.

Nothing is downloaded or unpickled, no code of the folder runs, and no weight is left at random.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.errors import MissingPackageError, ModelError, first_few, first_line
from blissmask.storage.ordinary import refuse_special_in

if TYPE_CHECKING:
    import torch


def load_transformer(class_name: str, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a transformers model in eval mode.

    Args:
        class_name: a class of the transformers package, e.g. ``Sam3Model``.
        folder: has ``config.json`` and safetensors weights.
        device: device of the weights.
        dtype: precision of the weights.

    Raises:
        MissingPackageError: the installed transformers does not know the class, or the class needs another package.
        ModelError: files are missing, damaged or of another model.
    """
    import transformers
    from safetensors import SafetensorError

    model_class = getattr(transformers, class_name, None)
    if model_class is None:
        raise MissingPackageError(
            f"transformers {transformers.__version__} has no `{class_name}`",
            fix="install a newer one: `pip install -U transformers`",
        )
    transformers.utils.logging.disable_progress_bar()
    try:
        refuse_special_in(folder)
        model, report = model_class.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            output_loading_info=True,
        )
    except ImportError as error:
        # Some classes need more than transformers installs, e.g. scipy for the loss of MaskFormer and EoMT, even when
        # nothing is trained.
        message = str(error).strip().partition(". ")[0]
        raise MissingPackageError(
            f"`{class_name}` needs another package", where=[message], fix=_how_to_install(message)
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"the model folder cannot be loaded: {first_line(error)}", where=[folder]) from error
    # transformers fills missing weights with random numbers and only warns.
    missing = list(report["missing_keys"])
    missing += [key for key, *_ in report["mismatched_keys"]]
    if missing:
        raise ModelError(
            f"the folder is no {class_name}: weights are missing, {len(missing)} in all",
            where=[folder, *first_few(sorted(missing))],
        )
    return model.requires_grad_(False).eval().to(device)  # noqa: FBT003 (PyTorch's own signature)


def _how_to_install(message: str) -> str:
    """Return the command that installs the package that transformers names as "requires the NAME library"."""
    name = message.partition("requires the ")[2].partition(" ")[0].lower()
    return f"install it: `pip install {name}`" if name else ""
