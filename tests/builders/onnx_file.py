"""Write small ONNX files without the onnx package: just enough of the format for graphs that tests need.

A message is a list of (field number, value): int is a varint, bytes a byte string, str text. Source: onnx.proto3 of the ONNX project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(*fields: tuple[int, int | bytes | str]) -> bytes:
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


@dataclass
class OnnxFile:
    """A graph under construction; ``node`` and ``constant`` return names of what they add."""

    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        kind = FLOAT if values.dtype == np.float32 else INT64
        self.constants.append(
            _message(*((1, int(side)) for side in values.shape), (2, kind), (8, name), (9, values.tobytes()))
        )
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> str:
        packed = []
        for name, value in attributes.items():
            many = [(8, number) for number in value] if isinstance(value, Sequence) else [(3, value)]
            packed.append((5, _message((1, name), *many, (20, 7 if isinstance(value, Sequence) else 2))))
        self.nodes.append(_message(*((1, name) for name in inputs), (2, output), (4, operator), *packed))
        return output

    def to_bytes(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        metadata: Mapping[str, str] = {},
    ) -> bytes:
        graph = _message(
            *((1, node) for node in self.nodes),
            (2, "graph"),
            *((5, constant) for constant in self.constants),
            *((11, _value(name, shape)) for name, shape in inputs.items()),
            *((12, _value(name, shape)) for name, shape in outputs.items()),
        )
        entries = ((14, _message((1, key), (2, text))) for key, text in metadata.items())
        return _message((1, 8), (8, _message((2, 17))), (7, graph), *entries)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dimensions = ((1, _message((1, side) if isinstance(side, int) else (2, side))) for side in shape)
    return _message((1, name), (2, _message((1, _message((1, FLOAT), (2, _message(*dimensions)))))))
