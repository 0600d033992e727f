"""Tensors of an ONNX model that lie in another file, wherever in the model they are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx


def outside_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yields all of them: initializers, sparse ones, attributes of nodes, subgraphs and functions.

    ONNX Runtime reads such a file below the current directory when a model is given to it as bytes.
    """
    from onnx import TensorProto

    for one in _tensors(model, TensorProto):
        if one.data_location == TensorProto.EXTERNAL:
            yield one


def _tensors(message: Any, tensor: type) -> Iterator[Any]:
    """Goes by the fields that a message has, so that no place of a tensor has to be known."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in (value,) if hasattr(value, "ListFields") else value:
            if isinstance(one, tensor):
                yield one
            else:
                yield from _tensors(one, tensor)
