"""Reads a graph's nodes from ONNX's wire format, and cuts a graph down to the nodes that some of its tensors need.

Scoring has no `onnx` package at hand, and needs little of it: which nodes there are, and the same bytes with fewer of
them. Field numbers are those of `onnx.proto`; https://protobuf.dev/programming-guides/encoding/ has the encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MODEL_GRAPH: Final = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_KIND, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_NAME, _ATTRIBUTE_NUMBER, _ATTRIBUTE_TENSOR = 1, 3, 5
_SUBGRAPHS: Final = frozenset({6, 11})
_TENSOR_SHAPE, _TENSOR_NAME = 1, 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its operator (`domain:kind` outside of ONNX's own domain), and the tensors it reads and makes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, int]
    """Its attributes that are whole numbers."""
    shape: tuple[int, ...] | None
    """Of the tensor that it holds as an attribute."""
    has_subgraph: bool
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Graph:
    """The main graph of a model, its nodes in the order in which they run."""

    nodes: tuple[Node, ...]
    inputs: frozenset[str]
    constants: Mapping[str, tuple[int, ...]]
    """The shapes of the tensors that are part of the model, by name."""
    _around: bytes = field(repr=False)
    _within: bytes = field(repr=False)

    @classmethod
    def parse(cls, model: bytes) -> Graph:
        """The graph of a serialized model.

        Raises:
            ValueError: These bytes are no model.
        """
        around, within, nodes = bytearray(), bytearray(), []
        inputs, constants = set(), {}
        for number, value, raw in _fields(model):
            if number != _MODEL_GRAPH:
                around += raw
                continue
            for inner, content, text in _fields(_bytes(value)):
                if inner == _NODE:
                    nodes.append(_node(_bytes(content)))
                elif inner not in {_OUTPUT, _VALUE_INFO}:
                    within += text
                if inner == _INITIALIZER:
                    constants[_text(_bytes(content), _TENSOR_NAME)] = _shape(_bytes(content))
                elif inner == _INPUT:
                    inputs.add(_text(_bytes(content), _NAME))
        for node in nodes:
            if node.kind == "Constant":
                constants |= dict.fromkeys(node.outputs, node.shape or ())
        return cls(tuple(nodes), frozenset(inputs - constants.keys()), constants, bytes(around), bytes(within))

    def needed(self, tensors: Iterable[str]) -> tuple[Node, ...]:
        """The nodes that must run to make these tensors, in order."""
        wanted, found = set(tensors), []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                found.append(node)
                wanted.update(node.inputs)
        return tuple(reversed(found))

    def cut(self, tensors: Iterable[str]) -> bytes:
        """A model whose outputs are these tensors, which nodes make; it has only the nodes that they need."""
        outputs = list(dict.fromkeys(tensors))
        nodes = b"".join(_field(_NODE, node.raw) for node in self.needed(outputs))
        ends = b"".join(_field(_OUTPUT, _field(_NAME, name.encode())) for name in outputs)
        return self._around + _field(_MODEL_GRAPH, nodes + self._within + ends)


def _node(raw: bytes) -> Node:
    inputs, outputs, numbers = [], [], {}
    kind = domain = ""
    shape, has_subgraph = None, False
    for number, value, _ in _fields(raw):
        if number == _NODE_INPUT:
            inputs.append(_bytes(value).decode())
        elif number == _NODE_OUTPUT:
            outputs.append(_bytes(value).decode())
        elif number == _NODE_KIND:
            kind = _bytes(value).decode()
        elif number == _NODE_DOMAIN:
            domain = _bytes(value).decode()
        elif number == _NODE_ATTRIBUTE:
            attribute = {inner: content for inner, content, _ in _fields(_bytes(value))}
            has_subgraph |= not _SUBGRAPHS.isdisjoint(attribute)
            if _ATTRIBUTE_TENSOR in attribute:
                shape = _shape(_bytes(attribute[_ATTRIBUTE_TENSOR]))
            if isinstance(whole := attribute.get(_ATTRIBUTE_NUMBER), int):
                numbers[_bytes(attribute.get(_NAME, b"")).decode()] = whole
    named = kind if domain in {"", "ai.onnx"} else f"{domain}:{kind}"
    return Node(named, tuple(inputs), tuple(outputs), numbers, shape, has_subgraph, raw)


def _shape(tensor: bytes) -> tuple[int, ...]:
    shape: list[int] = []
    for number, value, _ in _fields(tensor):
        if number != _TENSOR_SHAPE:
            continue
        if isinstance(value, int):
            shape.append(value)
        else:  # packed
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                shape.append(size)
    return tuple(shape)


def _text(message: bytes, wanted: int) -> str:
    return next((_bytes(value).decode() for number, value, _ in _fields(message) if number == wanted), "")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes are expected")  # noqa: TRY004 - about the data, not about a type
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes, bytes]]:
    """Number, value and whole encoding of each field of a message; numbers are signed, as `int64` is."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        if tag & 7 == _VARINT:
            whole, at = _varint(message, at)
            yield tag >> 3, whole, message[start:at]
            continue
        if tag & 7 == _BYTES:
            size, at = _varint(message, at)
        elif tag & 7 in {_FIXED64, _FIXED32}:
            size = 8 if tag & 7 == _FIXED64 else 4
        else:
            raise ValueError(f"no wire type {tag & 7}")
        if at + size > len(message):
            raise ValueError("a field ends behind its message")
        yield tag >> 3, message[at : at + size], message[start : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:  # noqa: PLR2004 - bits
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the last one has no continuation bit
            return value - (1 << 64) if value >= 1 << 63 else value, at
    raise ValueError("a number ends behind its message")


def _field(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
