"""The numbers of the steps: read from the device in groups, so that no step waits for the GPU, and logged as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from blissmask.errors import InputError, Problem
from blissmask.storage import atomic
from blissmask.storage.ordinary import read_text

Values = Mapping[str, float]


class NonFiniteLossError(InputError):
    """The loss or the gradient became NaN or infinite."""


@dataclass(slots=True)
class MetricBuffer:
    """Collects the numbers of the steps, whose tensors stay on the device until they are read.

    Reading waits for the device, and is one transfer for many steps.

    Attributes:
        interval: most steps between two readings.
        receive: called with (step, values) for each step, in order.
        patience: most seconds between two readings, so that slow steps are shown as they come. Infinite where several
            processes must stop at the same step, since each has its own clock.
        clock: returns seconds, from any zero.
    """

    interval: int
    receive: Callable[[int, Values], None]
    patience: float = math.inf
    clock: Callable[[], float] = time.monotonic
    _waiting: list[tuple[int, dict[str, Tensor | float]]] = field(default_factory=list)
    _read_at: float | None = None

    def add(self, step: int, values: dict[str, Tensor | float]) -> None:
        """Take the numbers of step ``step``.

        Raises NonFiniteLossError at most ``interval`` steps after a number that is not finite.
        """
        self._waiting.append((step, values))
        if self._read_at is None:
            self._read_at = self.clock()
        if len(self._waiting) >= self.interval or self.clock() - self._read_at >= self.patience:
            self.flush()

    def flush(self) -> None:
        """Read all numbers that were not read yet.

        Raises NonFiniteLossError when a loss or a gradient norm is not finite; the steps before it are received.
        """
        waiting, self._waiting = self._waiting, []
        for (step, _), values in zip(waiting, _read([values for _, values in waiting]), strict=True):
            wrong = [name for name, value in values.items() if not math.isfinite(value)]
            if wrong:
                raise NonFiniteLossError(
                    f"`{wrong[0]}` is not finite at step {step}, so training stopped",
                    fix="the last training state is kept; lower `learning_rate`, or raise `lr_warmup_steps`, "
                    "and run again",
                )
            self.receive(step, values)
        self._read_at = self.clock()


def _read(steps: Sequence[Mapping[str, Tensor | float]]) -> list[dict[str, float]]:
    """Return the numbers of ``steps`` as floats, with one transfer from each device."""
    numbers: dict[tuple[int, str], float] = {}
    on_device: dict[torch.device, dict[tuple[int, str], Tensor]] = {}
    for at, values in enumerate(steps):
        for name, value in values.items():
            if isinstance(value, Tensor):
                on_device.setdefault(value.device, {})[at, name] = value
            else:
                numbers[at, name] = float(value)
    for tensors in on_device.values():
        # They are stacked on their device, as float32: a step computes no finer, and not every device has float64.
        read = torch.stack([tensor.float().reshape(()) for tensor in tensors.values()]).cpu().tolist()
        numbers.update(zip(tensors, read, strict=True))
    return [{name: numbers[at, name] for name in values} for at, values in enumerate(steps)]


class StepLog:
    """JSON lines in a file beside the LoRA: one for each step, and one more where something was measured after it.

    The same run writes the same bytes, so the lines hold no time.

    Args:
        path: ends in ``.jsonl``.
        keep_until: last step to keep of the lines that are there. Later steps are trained again, so their lines go, and
            a torn last line with them.
    """

    def __init__(self, path: Path, *, keep_until: int) -> None:
        self._path = path
        kept = [line for line in _lines(path) if _parse(line, path)["step"] <= keep_until] if keep_until else []
        text = "".join(f"{line}\n" for line in kept)
        atomic.write_text(path, text)
        self._size = len(text.encode("utf-8", "surrogateescape"))
        self._waiting: list[str] = []

    def write(self, step: int, values: Values) -> Problem | None:
        """Append one line, and those that could not be written before.

        Returns:
            Why the line has to wait: the disk is full, or it is gone. None when it is written.
        """
        # Eight digits: a float32 has seven to eight, and spelled as a float64 it would be twice as long.
        line = json.dumps({"step": step, **{name: float(f"{value:.8g}") for name, value in values.items()}})
        self._waiting.append(f"{line}\n")
        return self.flush()

    def flush(self) -> Problem | None:
        """Append the lines that wait; see :meth:`write`."""
        data = "".join(self._waiting).encode()
        try:
            with self._path.open("r+b") as file:
                # An earlier attempt may have written a part of a line.
                file.truncate(self._size)
                file.seek(self._size)
                file.write(data)
        except OSError as error:
            fix = "free some space: the lines are kept in memory and written when there is room"
            return Problem(f"cannot write the log: {error.strerror or error}", (str(self._path),), fix)
        self._size += len(data)
        self._waiting.clear()
        return None


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the whole lines of a step log, in order.

    Raises InputError when a line is not ours.
    """
    return [_parse(line, path) for line in _lines(path)]


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    # Bytes that are no text are kept as they are: the line that holds them is named.
    lines = read_text(path, errors="surrogateescape").split("\n")
    # After the last line end comes nothing, or a line that a kill tore.
    return lines[:-1]


def _parse(line: str, path: Path) -> dict[str, float]:
    try:
        values = json.loads(line)
        numbers = {name: float(values[name]) for name in ("step", *values)}
        # Python reads NaN and Infinity, too: of a step they are nothing, of a loss what a foreign log may hold.
        int(numbers["step"])
        return numbers
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = f"the step log holds a line that is not ours: {line[:60]}"
        raise InputError(what, where=[path], fix="move the log away, then run again") from error
