"""Refuse cached captions of another width than the rest: the model would stop in the middle of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from blissmask.cachefile.entry import CacheHeader
from blissmask.errors import CacheError, Hint
from blissmask.training.data.items import TrainingItem

_Kind = tuple[int, int, bool]
"""Number of axes, width of the last one (0 where there is only one), whether the tensor holds fractions."""


@dataclass(slots=True)
class AlikeItems:
    """Remembers of which kind each content of the text files is, and compares all entries with that.

    Attributes:
        kinds: content -> its kind, and the first file that holds it.
    """

    kinds: dict[str, tuple[_Kind, str]] = field(default_factory=dict)

    def check(self, header: CacheHeader, item: TrainingItem) -> None:
        """Compare the conditioning from the text file of one entry with that of the entries before.

        Raises:
            CacheError: a tensor has another number of axes, another width, or whole numbers instead of fractions.
        """
        for name, tensor in item.conditioning.items():
            if name in header.contents:
                continue
            width = tensor.shape[-1] if tensor.ndim > 1 else 0
            kind = (tensor.ndim, width, tensor.is_floating_point())
            known, first = self.kinds.setdefault(name, (kind, header.text_path.name))
            if kind != known:
                raise CacheError(
                    f"`{name}` of this cached caption is unlike that of {first}",
                    where=[header.text_path],
                    fix=Hint("remove the file and run `{command}` again", "cache"),
                )
