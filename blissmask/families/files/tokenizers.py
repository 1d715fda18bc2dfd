"""The tokenizer of a text encoder: where it is, how it loads offline, whether it knows the tokens of its template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError, first_line
from blissmask.families.files.identity import path_identity
from blissmask.families.files.miniature import byte_tokenizer
from blissmask.families.files.model_files import ModelFiles, folder_of_part, is_tiny
from blissmask.families.files.part import Part
from blissmask.storage.ordinary import refuse_special_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """The tokenizer of a text encoder.

    Attributes:
        encoder: the text encoder; its folder may hold the tokenizer too, and a miniature encoder has one of bytes.
        folder: sub-folder in diffusers layout.
        field: the field of :class:`ModelFiles` that names its folder.
        specials: the special tokens of the template around captions.
        load_from: loads it from the first folder that holds one, else from the file or folder of the encoder; raises
            ModelError. None for :func:`load_tokenizer`.
    """

    encoder: Part
    folder: str = "tokenizer"
    field: str = "tokenizer"
    specials: tuple[str, ...] = ()
    load_from: Callable[[Sequence[Path], Path], Any] | None = None

    @property
    def option(self) -> str:
        """Return the flag that names its folder, e.g. ``--tokenizer``."""
        return f"--{self.field.replace('_', '-')}"

    def load(self, files: ModelFiles) -> Any:
        """Return the tokenizer; a miniature's texts end in ``</s>`` unless a template ends them.

        Raises:
            ModelError, UsageError: as :meth:`Part.source`; there is none, it is damaged, or another model's.
        """
        source = self.encoder.source(files)
        if source is None:
            return byte_tokenizer(specials=self.specials, end=not self.specials)
        if self.load_from is not None:
            return self.load_from(self._places(files), source)
        return load_tokenizer(self._places(files), self)

    def identity(self, files: ModelFiles) -> str:
        """Return the name of its files by content; empty for a miniature, and for one inside the weights."""
        if self.encoder.source(files) is None:
            return ""
        places = self._places(files)
        return path_identity(places[0]) if places else ""

    def _places(self, files: ModelFiles) -> list[Path]:
        """Return where it may be: the user's own choice, beside the text encoder, in the model folder."""
        named: Path | None = getattr(files, self.field)
        source = self.encoder.source(files)
        places = [named] if named else []
        if source is not None and source.is_dir():
            places.append(source)
        if files.model is not None and not is_tiny(files):
            places.append(folder_of_part(files, self.folder, option=self.option))
        return places


def load_tokenizer(folders: Sequence[Path], tokenizer: Tokenizer) -> Any:
    """Load the tokenizer from the first of ``folders`` that holds one.

    Raises:
        ModelError: there is none, it is damaged, or it lacks a special token. A bare ``vocab.json`` would spell
            ``<|im_start|>`` out in letters, without an error.
    """
    from transformers import AutoTokenizer

    files = "`tokenizer_config.json` and its other files"
    fix = f"give the folder with {files} as `{tokenizer.option}` (`{tokenizer.folder}` in a diffusers model)"
    for folder in folders:
        if not (folder / "tokenizer_config.json").is_file():
            continue
        try:
            refuse_special_in(folder)
            loaded = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except MemoryError:
            raise
        except Exception as error:
            # The library behind it raises plain exceptions for files that it cannot understand.
            what = f"the tokenizer cannot be loaded: {first_line(error)}"
            raise ModelError(what, where=[folder], fix=fix) from error
        missing = [token for token in tokenizer.specials if token not in loaded.get_vocab()]
        if missing:
            raise ModelError(f"the tokenizer does not know `{missing[0]}`", where=[folder], fix=fix)
        return loaded
    raise ModelError(f"no tokenizer for `{tokenizer.encoder.option}`", where=folders, fix=fix)
