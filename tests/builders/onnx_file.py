"""Write small ONNX files without the onnx package: as much of the format as the graphs of the tests need.

A message is a list of (field number, value); int is a varint, bytes a byte string, str text. The numbers are those of
``onnx.proto3`` of the ONNX project, and constants here give them the names that they have there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7
"""TensorProto.DataType."""

ATTRIBUTE_INT, ATTRIBUTE_INTS = 2, 7
"""AttributeProto.AttributeType."""

IR_VERSION, OPERATOR_SET = 8, 17

Field = tuple[int, int | bytes | str]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(fields: Sequence[Field]) -> bytes:
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
    """A graph under construction; ``node`` and ``constant`` return the name of the tensor that they add."""

    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add a TensorProto."""
        fields: list[Field] = [(1, int(side)) for side in values.shape]
        fields.append((2, FLOAT if values.dtype == np.float32 else INT64))
        fields.append((8, name))
        fields.append((9, values.tobytes()))
        self.constants.append(_message(fields))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> str:
        """Add a NodeProto with one output."""
        fields: list[Field] = [(1, name) for name in inputs]
        fields.append((2, output))
        fields.append((4, operator))
        fields += [(5, _attribute(name, value)) for name, value in attributes.items()]
        self.nodes.append(_message(fields))
        return output

    def to_bytes(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        metadata: Mapping[str, str] = {},
    ) -> bytes:
        """Return the file: a ModelProto around one GraphProto."""
        graph: list[Field] = [(1, node) for node in self.nodes]
        graph.append((2, "graph"))
        graph += [(5, constant) for constant in self.constants]
        graph += [(11, _value(name, shape)) for name, shape in inputs.items()]
        graph += [(12, _value(name, shape)) for name, shape in outputs.items()]
        model: list[Field] = [(1, IR_VERSION), (8, _message([(2, OPERATOR_SET)])), (7, _message(graph))]
        model += [(14, _message([(1, key), (2, text)])) for key, text in metadata.items()]
        return _message(model)


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    """Return an AttributeProto."""
    fields: list[Field] = [(1, name)]
    if isinstance(value, Sequence):
        fields += [(8, number) for number in value]
        fields.append((20, ATTRIBUTE_INTS))
    else:
        fields += [(3, value), (20, ATTRIBUTE_INT)]
    return _message(fields)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """Return a ValueInfoProto of float32; a side with a name is free."""
    dimensions: list[Field] = [(1, _message([(1 if isinstance(side, int) else 2, side)])) for side in shape]
    tensor = _message([(1, FLOAT), (2, _message(dimensions))])
    return _message([(1, name), (2, _message([(1, tensor)]))])
