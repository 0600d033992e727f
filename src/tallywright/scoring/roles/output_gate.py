"""The last look at what a model said: every output present, finite, and a probability between 0 and 1."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import valid_mask, values_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARES = frozenset({"probability", "probabilities", "confidence"})
"""Outputs that lie between 0 and 1."""


def problems_in(outputs: pa.RecordBatch) -> Counter[str]:
    """How many values of a batch break the gate, by what is wrong; empty for a good batch."""
    problems: Counter[str] = Counter()
    for name, column in zip(outputs.schema.names, outputs.columns, strict=True):
        values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
        nulls = column.null_count + (values.null_count if values is not column else 0)
        if nulls:
            problems[f"{name} is null"] += nulls
        if pa.types.is_floating(values.type):
            _count_numbers(problems, name, values_of(values)[valid_mask(values)] if nulls else values_of(values))
    return problems


def broken_rows(outputs: pa.RecordBatch) -> NDArray[np.bool_]:
    """True for each row with a value that `problems_in` would count."""
    broken = np.zeros(outputs.num_rows, dtype=np.bool_)
    for name, column in zip(outputs.schema.names, outputs.columns, strict=True):
        broken |= ~valid_mask(column)
        if pa.types.is_list(column.type):
            rows = values_of(pc.list_parent_indices(column))
            broken[rows[_wrong(name, pc.list_flatten(column))]] = True
        else:
            broken |= _wrong(name, column)
    return broken


def _wrong(name: str, values: pa.Array) -> NDArray[np.bool_]:
    wrong = ~valid_mask(values)
    if pa.types.is_floating(values.type):
        numbers = values_of(values)
        sound = np.isfinite(numbers)
        if name in SHARES:
            sound &= (numbers >= 0) & (numbers <= 1)
        wrong |= ~sound
    return wrong


def _count_numbers(problems: Counter[str], name: str, numbers: NDArray[Any]) -> None:
    finite = np.isfinite(numbers)
    wrong = {f"{name} is not finite": ~finite}
    if name in SHARES:
        wrong[f"{name} is outside 0..1"] = finite & ((numbers < 0) | (numbers > 1))
    for what, rows in wrong.items():
        found = int(np.count_nonzero(rows))
        if found:
            problems[what] += found
