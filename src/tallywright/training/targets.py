"""Refuses labels that a task cannot learn, over all windows at once and before the first epoch.

Ingest looks at one date at a time: a class that bears another name on some date shows only beside the other dates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.errors import InputError
from tallywright.labels import allowed_labels, class_names, wrong_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.spec.model import ModelSpec

_EXAMPLES: Final = 3
_SHOWN: Final = 10
_LARGEST: Final = float(np.finfo(np.float32).max)
"""Networks and packages compute in float32: a larger number is infinite for them."""


def require_targets(spec: ModelSpec, splits: Sequence[pa.Table]) -> None:
    """Checks the labels of all windows together.

    Args:
        spec: Names target, task and positive class.
        splits: The labelled rows of the windows: `score_date` and the target, without nulls.

    Raises:
        InputError: Values that are no label of the task; names each class or value, how many rows have it, and dates.
    """
    columns = ["score_date", spec.training.target]
    rows = pa.concat_tables([split.select(columns) for split in splits], promote_options="permissive")
    dates, column = rows.column("score_date"), rows.column(spec.training.target)
    if spec.training.kind.classifies:
        _require_classes(spec, dates, column)
    else:
        _require_numbers(spec, dates, column)


def _require_classes(spec: ModelSpec, dates: pa.ChunkedArray, column: pa.ChunkedArray) -> None:
    training = spec.training
    wrong = wrong_labels(column, training.kind, training.positive)
    if not wrong:
        return
    names = class_names(column)
    counted = {row["values"]: row["counts"] for row in pc.value_counts(names).to_pylist()}
    # The rarest of those that may not be is the one to look for, and stands last.
    ranked = sorted(counted, key=lambda name: (name in wrong, -counted[name], name))
    shown = ranked if len(ranked) <= _SHOWN else [*ranked[: _SHOWN - 1], ranked[-1]]
    found = {
        f"{name!r} in {counted[name]:,} rows": _dates_of(dates, pc.equal(names, pa.scalar(name))) for name in shown
    }
    raise _refusal(
        spec,
        f"{training.target} has {len(ranked)} classes in the training windows",
        found,
        expected=allowed_labels(training.kind, training.positive) + ", in all windows together",
    )


def _require_numbers(spec: ModelSpec, dates: pa.ChunkedArray, column: pa.ChunkedArray) -> None:
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return  # texts: the objective says which
    # NaN compares false: what is no number is beyond, too.
    beyond = pc.invert(pc.less_equal(pc.abs(column.cast(pa.float64(), safe=False)), pa.scalar(_LARGEST)))
    rows = pc.sum(beyond.cast(pa.int64())).as_py()
    if not rows:
        return
    values = ", ".join(f"{value:g}" for value in pc.unique(column.filter(beyond)).to_pylist()[:_EXAMPLES])
    raise _refusal(
        spec,
        f"{spec.training.target} has values that no float32 holds",
        {f"{rows:,} rows, such as {values}": _dates_of(dates, beyond)},
        expected=f"finite numbers of at most {_LARGEST:.1e}, either sign",
    )


def _refusal(spec: ModelSpec, what: str, found: Mapping[str, Sequence[str]], *, expected: str) -> InputError:
    listed = "; ".join(
        f"{text} ({', '.join(days[:_EXAMPLES])}{', …' if len(days) > _EXAMPLES else ''})"
        for text, days in found.items()
    )
    *_, days = found.values()
    return InputError(
        f"{spec.table('labels')}: {what}: {listed}",
        expected=expected,
        remedy=f"correct {spec.data.labels}, training.task or training.positive, then ingest the dates again: "
        f"tally ingest {spec.name} --date {days[0]}",
    )


def _dates_of(dates: pa.ChunkedArray, mask: pa.ChunkedArray) -> list[str]:
    return [str(day) for day in sorted(pc.unique(dates.filter(mask)).to_pylist())]
