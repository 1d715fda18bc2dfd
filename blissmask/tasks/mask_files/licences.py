"""The licence ledger: which sets of weights a run uses, and what they may be used for.

It is shown once per run and recorded with the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blissmask.errors import Problem, UsageError
from blissmask.events import Noted, Reporter
from blissmask.licence import Licence
from blissmask.tasks.run.plan import Table


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights that a run uses.

    Attributes:
        option: the flag that chose it, e.g. ``--backend``.
        name: what the flag names, e.g. ``yolo``.
        identity: names the weights by content.
        licence: what they may be used for.
    """

    option: str
    name: str
    identity: str
    licence: Licence

    @property
    def chosen_by(self) -> str:
        """Return how a user chooses it, e.g. ``--backend yolo``."""
        return f"{self.option} {self.name}"


def refuse_non_commercial(used: Sequence[Weights], *, commercial_only: bool) -> None:
    """Raise UsageError when only weights for commercial use are wanted and some are not; names all of them."""
    if not commercial_only:
        return
    problems = [
        Problem(
            f"the weights of `{weights.chosen_by}` may not be used commercially (licence {weights.licence.name})",
            fix=f"choose another `{weights.option}`, or leave out `--commercial-only`",
        )
        for weights in used
        if not weights.licence.commercial
    ]
    if problems:
        raise UsageError.several(problems)


def note_licences(used: Sequence[Weights], reporter: Reporter) -> None:
    """Report which weights are used, and their licence, one line each."""
    for weights in used:
        reporter.emit(Noted(f"`{weights.chosen_by}` uses {weights.identity}; licence: {weights.licence.in_words()}"))


def licence_table(used: Sequence[Weights]) -> Table:
    """Return one row per set of weights, for ``--explain``."""
    rows = tuple((weights.chosen_by, weights.licence.in_words()) for weights in used)
    return Table("Licence of the weights", ("Weights", "Licence"), rows)


def to_json(used: Sequence[Weights]) -> list[dict[str, object]]:
    """Return the ledger as JSON values, for notes, records and ``--json``."""
    return [
        {
            "weights": weights.chosen_by,
            "identity": weights.identity,
            "licence": weights.licence.name,
            "commercial": weights.licence.commercial,
            "note": weights.licence.note,
        }
        for weights in used
    ]
