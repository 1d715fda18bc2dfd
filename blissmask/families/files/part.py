"""One part of a model (VAE, text encoder, denoiser ...): where it comes from, how it loads, its name by content.

A part comes from the single file the user named, else from a folder of the diffusers model, else it is a miniature.
Naming it needs no torch, so that a fresh cache is known to be fresh without it.
"""

from __future__ import annotations

import contextlib
import importlib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.errors import MissingPackageError, ModelError, UsageError, first_line
from blissmask.families.files.identity import path_identity
from blissmask.families.files.miniature import seeded, tiny_identity
from blissmask.families.files.model_files import ModelFiles, folder_of_part, is_tiny
from blissmask.families.files.quantised_files import refuse_quantised_file
from blissmask.families.files.safetensors_header import begins_as_safetensors
from blissmask.families.files.stored_tensors import Tensors
from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.imports import import_scipy_stats_later, quick_imports
from blissmask.storage.ordinary import what_is, why_no_file

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a model.

    Attributes:
        folder: its sub-folder in diffusers layout, e.g. ``vae``.
        field: the field of :class:`ModelFiles` that names its single file, e.g. ``text_encoder``.
        class_path: its diffusers or transformers class, e.g. ``diffusers.AutoencoderKL``.
        config_of: returns the arguments of the class (in transformers, of its configuration) that fit the tensors of a
            file under the names of the class; the path is for messages. Raises ModelError when the file is another
            model's.
        tiny: builds it in miniature.
        tiny_name: tells miniatures of other sizes apart.
        rename: brings the tensors of a file to the names of the class, whichever published layout they are in; None
            for files that have them already.
        ignore: prefixes of names in a file that the class lacks on purpose, e.g. ``lm_head.``.
        trim: removes what is never run, in place; from a single file it is not even read.
        check_folder: raises ModelError for a folder in diffusers layout that is marked as another model's.
        check_tensors: raises ModelError for a single file that is marked as another model's, by its tensors under
            their names in the file.
        published: arguments of the class for the released model, beside its own defaults; None where no estimate needs
            them.
    """

    folder: str
    field: str
    class_path: str
    config_of: Callable[[Tensors, Path], dict[str, Any]]
    tiny: Callable[[], nn.Module]
    tiny_name: str
    rename: Callable[[Tensors], Tensors] | None = None
    ignore: tuple[str, ...] = ()
    trim: Callable[[Any], None] | None = None
    check_folder: Callable[[Path], None] | None = None
    check_tensors: Callable[[Tensors, Path], None] | None = None
    published: Mapping[str, Any] | None = None

    @property
    def option(self) -> str:
        """Return the flag that names its single file, e.g. ``--text-encoder``."""
        return f"--{self.field.replace('_', '-')}"

    def source(self, files: ModelFiles) -> Path | None:
        """Return the file or folder it comes from; None for a miniature.

        Raises:
            UsageError: nothing was named.
            ModelError: the model has no such part, or it is a hub model that is not here and may not be fetched.
        """
        named: Path | None = getattr(files, self.field)
        if named is not None:
            return named
        if is_tiny(files):
            return None
        return folder_of_part(files, self.folder, option=self.option)

    def identity(self, files: ModelFiles) -> str:
        """Return the name of its weights by content, without loading them.

        Raises as :meth:`source`, and ModelError when they are quantised for inference.
        """
        source = self.source(files)
        if source is None:
            return tiny_identity(self.tiny_name, self.folder)
        refuse_quantised_file(source)
        return path_identity(source)

    def is_fetched_later(self, files: ModelFiles) -> bool:
        """Return whether the part is of a hub model that may be fetched: a plan fetches nothing."""
        if getattr(files, self.field) is not None or files.model is None or is_tiny(files):
            return False
        return files.download and what_is(Path(files.model)) != "a folder"

    def is_here(self, files: ModelFiles) -> bool:
        """Return whether the part was named and is there, or may be fetched later; what it holds is not looked at.

        What may not be looked at counts as there, so that :meth:`check` says why.
        """
        if self.is_fetched_later(files):
            return True
        try:
            source = self.source(files)
            return source is None or source.exists()
        except (UsageError, ModelError):
            return False
        except OSError:
            return True

    def check(self, files: ModelFiles) -> None:
        """Make sure that the part is there and of this model, or may be fetched later.

        Of a safetensors file the header is read, once, and of PyTorch's own files the table of contents, for which
        torch is needed. Folders, and PyTorch's files from before 1.6, which have no such table, are not looked into for
        their tensors: whether they are another model's turns out when they are loaded.

        Raises:
            UsageError: nothing was named.
            ModelError: what was named is not there, or a file is quantised for inference, damaged, another model's, or
                of a kind that cannot hold weights.
            MachineError: the file cannot be read.
        """
        if self.is_fetched_later(files):
            return
        try:
            source = self.source(files)
        except OSError as error:
            what = f"the model folder cannot be read: {error.strerror}"
            raise ModelError(what, where=[files.model], fix="correct `--model`") from error
        if source is None:
            return
        why = "" if what_is(source) == "a folder" else why_no_file(source, "model file")
        if why:
            raise ModelError(why, where=[source], fix=f"correct `{self.option}`")
        if source.is_dir():
            self._check_folder(source)
        elif begins_as_safetensors(source) or zipfile.is_zipfile(source):
            with _telling_of_shapes(self.class_path, source):
                self.config_of(self.stored(source), source)
        else:
            refuse_quantised_file(source)

    def weight_files(self, files: ModelFiles) -> list[Path]:
        """Return the files of its weights on this machine; empty for a hub id and for a miniature."""
        if is_tiny(files):
            return []
        named: Path | None = getattr(files, self.field)
        if named is not None:
            return [named] if named.is_file() else []
        if files.model is None:
            return []
        return sorted((Path(files.model) / self.folder).glob("*.safetensors"))

    def published_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return name and shape of each weight of the released model, without its files; empty where not known."""
        from blissmask.families.files.loading import build_empty

        if self.published is None:
            return []
        sizes = self.published
        module = build_empty(lambda: self._trimmed(self._build(sizes)))
        return [(name, tuple(weight.shape)) for name, weight in module.named_parameters()]

    def load(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the part, frozen, in eval mode, on ``device``.

        Raises:
            ModelError, UsageError: as :meth:`source`, or the weights cannot be loaded.
            MissingPackageError: the installed diffusers or transformers has no such class, or cannot be imported.
        """
        source = self.source(files)
        # Miniatures import it, too, but as everything is imported.
        self._class()
        if source is None:
            return self._trimmed(self.load_tiny(device=device, dtype=dtype))
        if source.is_dir():
            from blissmask.families.files.loading import load_folder

            self._check_folder(source)
            return self._trimmed(load_folder(self._class().from_pretrained, source, device=device, dtype=dtype))
        return self.load_file(source, device=device, dtype=dtype)

    def load_tiny(self, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the part in miniature, whole."""
        return seeded(self.tiny, device=device, dtype=dtype, name=tiny_identity(self.tiny_name, self.folder))

    def load_file(self, path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """Return the part from a single file, its size read from the shapes of the tensors.

        Raises:
            ModelError: the file is damaged, of another model, or lacks keys.
            MissingPackageError: as :meth:`load`.
        """
        from blissmask.families.files.loading import build_empty, load_weights

        with _telling_of_shapes(self.class_path, path):
            tensors = self.stored(path)
            config = self.config_of(tensors, path)
            empty = build_empty(lambda: self._trimmed(self._build(config)))
        return load_weights(empty, tensors, source=path, device=device, dtype=dtype, ignore=self.ignore)

    def stored(self, path: Path) -> Tensors:
        """Return the tensors of a single file under the names of the class, not read yet.

        Raises:
            ModelError: the file is damaged, quantised for inference, or marked as another model's.
            MachineError: it cannot be read.
        """
        tensors = open_checkpoint(path)
        if self.check_tensors is not None:
            self.check_tensors(tensors, path)
        return tensors if self.rename is None else self.rename(tensors)

    def _check_folder(self, folder: Path) -> None:
        if self.check_folder is not None:
            self.check_folder(folder)

    def _build(self, config: Mapping[str, Any]) -> nn.Module:
        model_class = self._class()
        if self.class_path.startswith("transformers."):
            return model_class(model_class.config_class(**config))  # type: ignore[no-any-return]
        return model_class(**config)  # type: ignore[no-any-return]

    def _class(self) -> Any:
        package, _, name = self.class_path.rpartition(".")
        library = package.partition(".")[0]
        try:
            with quick_imports():
                import_scipy_stats_later()
                # diffusers imports the module of a class when the class is asked for.
                return getattr(importlib.import_module(package), name)
        except AttributeError as error:
            raise MissingPackageError(
                f"this {library} has no `{name}`", fix=f"upgrade it: `pip install --upgrade {library}`"
            ) from error
        except (ImportError, RuntimeError) as error:
            # diffusers and transformers raise RuntimeError when a module of theirs does not fit another package.
            raise MissingPackageError(
                f"`{name}` cannot be imported from {library}: {first_line(error)}",
                fix=f"upgrade it and what it needs: `pip install --upgrade {library}`",
            ) from error

    def _trimmed(self, module: nn.Module) -> nn.Module:
        if self.trim is not None:
            self.trim(module)
        return module


@contextlib.contextmanager
def _telling_of_shapes(class_path: str, path: Path) -> Iterator[None]:
    """Raise ModelError where the sizes of a model cannot be read from the shapes in a file, whatever fails of it."""
    try:
        yield
    except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, RuntimeError) as error:
        # A tensor without axes, or with one of length 0, has no size to read.
        name = class_path.rpartition(".")[2]
        what = f"{path.name} is no {name}: its tensors have other shapes ({first_line(error)})"
        raise ModelError(what, where=[path], fix="give the file of this model family") from error
