"""Labels as columns: what a label may be, the names of its class, and the numbers that metrics read.

A class has a name, which is a text: the label itself, or a whole number as text. Ingest, training, the quality gate and
realised performance all ask here, so a label that one of them takes means the same to the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import number_array, string_array, values_of
from tallywright.tasks import MAX_CLASSES, NUMBERED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tallywright.tasks import Task

UNKNOWN_CLASS: Final = -1
"""The number of a class that is none of those asked for."""
# Arrow's scalars, because a Python number among Arrow's arguments imports pandas.
_UNKNOWN: Final = number_array(np.array([UNKNOWN_CLASS], dtype=np.int32), pa.int32())[0]
_EXACT: Final = number_array(np.array([2.0**53]), pa.float64())[0]
"""Below it a float64 is exactly the whole number that it stands for."""


def is_text(kind: pa.DataType) -> bool:
    """True for the types of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A mask of the values that are NaN: no label, whatever column they came in; null is False."""
    if pa.types.is_floating(column.type):
        return pc.and_kleene(pc.is_valid(column), pc.is_nan(column))
    return pc.and_(pc.is_null(column), pc.is_valid(column))


def class_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The names of the classes: texts as they are, whole numbers without a point; other numbers, which name none."""
    kind = column.type
    if is_text(kind):
        return column.cast(pa.string())
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8()).cast(pa.string())
    if not pa.types.is_floating(kind):
        return column.cast(pa.string())
    numbers = column.cast(pa.float64())
    whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), _EXACT))
    return pc.if_else(whole, numbers.cast(pa.int64(), safe=False).cast(pa.string()), numbers.cast(pa.string()))


def class_codes(column: pa.ChunkedArray, classes: Sequence[str]) -> NDArray[np.int64]:
    """The place of each label's class among these; -1 where it is none of them."""
    found = pc.index_in(class_names(column), value_set=string_array(list(classes)).cast(pa.string()))
    return _numbers(pc.fill_null(found, _UNKNOWN).cast(pa.int64()), np.int64)


def encoded(
    column: pa.ChunkedArray, task: Task, classes: Sequence[str] = (), positive: str = ""
) -> NDArray[np.float64]:
    """The labels as the metrics of the task read them.

    Args:
        column: Labels without a null.
        task: What kind of model they are of.
        classes: The model's classes; `0` and `1` for a binary one that names none.
        positive: The class whose probability a binary model gives; `1` where none is named.

    Returns:
        1 and 0 (binary), places among the classes (multiclass), values (regression); -1 for no class of these.
    """
    if not task.classifies:
        return _numbers(column.cast(pa.float64(), safe=False), np.float64)
    if task.per_class:
        return class_codes(column, classes).astype(np.float64)
    positive = positive or NUMBERED[1]
    # Of two models whose negative class has another name, both are negative.
    negative = [name for name in classes or NUMBERED if name != positive]
    codes = class_codes(column, (*negative, positive))
    return np.where(codes == UNKNOWN_CLASS, codes, codes == len(negative)).astype(np.float64)


def wrong_labels(column: pa.ChunkedArray, task: Task, positive: str = "") -> dict[str, int]:
    """The values of a day that are no label of the task, and how often each occurs, the most frequent first.

    Args:
        column: Labels; nulls are none.
        task: Of the spec.
        positive: The positive class that the spec names; a binary model then has one other class, whatever its name.
    """
    if column.null_count == len(column):
        return {}
    counted = pc.value_counts(class_names(column.drop_null()))
    counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    wrong = {value: rows for value, rows in counts.items() if not _is_label(value, column.type, task, positive)}
    others = [value for value in counts if value != positive]
    if task.thresholds and positive and len(others) > 1:
        wrong = {value: counts[value] for value in others}
    return dict(sorted(wrong.items(), key=lambda item: (-item[1], item[0])))


def allowed_labels(task: Task, positive: str = "") -> str:
    """What a label of the task may be, for messages."""
    if not task.classifies:
        return "a finite number in each labelled row"
    if task.per_class:
        return f"texts, or whole numbers from 0 to {MAX_CLASSES - 1}"
    return f"{positive!r} and one other class" if positive else "0 and 1"


def _is_label(value: str, kind: pa.DataType, task: Task, positive: str) -> bool:
    if not task.classifies:
        return not is_text(kind) and np.isfinite(float(value))
    if task.thresholds:
        return bool(positive) or (not is_text(kind) and value in NUMBERED)
    if is_text(kind):
        return bool(value.strip())
    return value.isdecimal() and int(value) < MAX_CLASSES


def _numbers(column: pa.ChunkedArray, kind: type[np.generic]) -> NDArray[Any]:
    """The values of a column without nulls; pyarrow's own conversion imports pandas."""
    chunks = [column] if isinstance(column, pa.Array) else column.chunks
    return np.concatenate([*(values_of(chunk) for chunk in chunks), np.zeros(0, dtype=kind)])
