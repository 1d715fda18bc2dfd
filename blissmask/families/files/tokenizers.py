"""Load a text encoder's tokenizer from a folder, offline, and make sure it knows the special tokens of its template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component, tokenizer_folders
from blissmask.families.tiny import byte_tokenizer


def tokenizer_of(part: Component, files: ModelFiles, *, needs: tuple[str, ...] = ()) -> Any:
    """Return the tokenizer of a text encoder, for a miniature one of bytes, whose texts end in ``</s>`` unless a template ends them.

    Args:
        part: the text encoder.
        files: what the user named.
        needs: the special tokens of its template.

    Raises:
        ModelError: as :func:`load_tokenizer`.
    """
    if part.source(files) is None:
        return byte_tokenizer(specials=needs, end=not needs)
    return load_tokenizer(tokenizer_folders(files, part), part=part, needs=needs)


def load_tokenizer(folders: Sequence[Path], *, part: Component, needs: Sequence[str] = ()) -> Any:
    """Load the tokenizer from the first of ``folders`` that holds one.

    Args:
        folders: where to look.
        part: the text encoder it is for, for messages.
        needs: special tokens it must know; a bare ``vocab.json`` would spell ``<|im_start|>`` out in letters without a
            word.

    Raises:
        ModelError: there is none, it is damaged, or it lacks a special token.
    """
    from transformers import AutoTokenizer

    option = part.option.replace("text-encoder", "tokenizer")
    inside = option.removeprefix("--").replace("-", "_")
    fix = f"give the folder with `tokenizer_config.json` and its other files as `{option}` (`{inside}` in a diffusers model)"
    for folder in folders:
        if not (folder / "tokenizer_config.json").is_file():
            continue
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"the tokenizer cannot be loaded: {str(error).partition(chr(10))[0]}", where=[folder], fix=fix
            ) from error
        missing = [token for token in needs if token not in tokenizer.get_vocab()]
        if missing:
            raise ModelError(f"the tokenizer does not know `{missing[0]}`", where=[folder], fix=fix)
        return tokenizer
    raise ModelError(f"no tokenizer for `{part.option}`", where=folders, fix=fix)
