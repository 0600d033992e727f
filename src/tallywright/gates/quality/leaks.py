"""Evidence that is none: a candidate fitted on its holdout, an input that is the label, a model against itself.

Such a model looks better than any other, and is worth nothing once labels are not there yet: each is refused, whatever
the figures say. An input that only hints at the label cannot be told from a good one; which columns were known when a
row is scored is a matter of its SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.labels import is_text
from tallywright.records import Check, Verdict
from tallywright.score_period import days_since_1970

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec

_EXAMPLES: Final = 5
_FIRST_LOOK: Final = 2_000
"""Rows that are looked at before all of them are."""


def leak_checks(spec: ModelSpec, candidate: Package, champion: Package | None, holdout: pa.Table) -> Iterator[Check]:
    """Yields a check for each of these leaks.

    Args:
        spec: Whose target and least number of rows count.
        candidate: The package under test.
        champion: The package in production.
        holdout: The rows that it is judged on.
    """
    seen = _rows_through(holdout, candidate.fitted_through)
    bound = f"0 rows of days through {candidate.fitted_through}, which it was fitted on"
    yield Check.of("holdout_unseen", not seen, float(seen), bound)
    told = ", ".join(list(_telling_columns(spec, candidate, holdout))[:_EXAMPLES])
    bound = "no input that is the label in other words"
    yield Check.of("inputs_are_no_labels", not told, told or "none", bound)
    if champion is not None:
        verdict = Verdict.FAIL if is_champion(candidate, champion) else Verdict.PASS
        bound = "another package than the champion's"
        yield Check(name="is_not_the_champion", verdict=verdict, bound=bound)


def is_champion(candidate: Package, champion: Package) -> bool:
    """True for the champion's own package, and for the one that was judged for it."""
    return candidate.digest in {champion.digest, champion.meta.judged}


def _rows_through(holdout: pa.Table, day: date) -> int:
    """How many rows are of this day or of one before."""
    days = holdout["score_date"].cast(pa.int32()).to_numpy()
    return int((days <= days_since_1970(day)).sum())


def _telling_columns(spec: ModelSpec, candidate: Package, holdout: pa.Table) -> Iterator[str]:
    """Yields the inputs that give the label away in every row that has them; to a model NaN is null."""
    if spec.training.target not in holdout.column_names:
        return
    classifies, label = spec.training.kind.classifies, holdout[spec.training.target].combine_chunks()
    values = label.dictionary_encode().indices if classifies else label.cast(pa.float64(), safe=False)
    labels, labelled = values.fill_null(0).to_numpy(), _is_there(label)
    differs = _is_no_name if classifies else _is_another_value
    for name in candidate.preprocess.columns:
        if name not in holdout.column_names:
            continue
        column = holdout[name].combine_chunks()
        rows = np.flatnonzero(labelled & _is_there(column))
        # What the first rows show of a column, more rows do not take back: most columns are done with them.
        for some in (rows[:_FIRST_LOOK], rows):
            if differs(column.take(pa.array(some)), labels[some]):
                break
        else:
            if len(rows) >= spec.gates.min_holdout_rows and len(np.unique(labels[rows])) > 1:
                yield name


def _is_there(column: pa.Array) -> np.ndarray:
    """True by row where it has a value: neither null nor NaN."""
    absent = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
    return np.asarray(pc.invert(absent).to_numpy(zero_copy_only=False))


def _is_no_name(value: pa.Array, label: np.ndarray) -> bool:
    """True where these rows show that a column is no other word for the class.

    It is one where each class has a value of its own, or lies on its own side of one threshold.
    """
    present, codes = np.unique(label, return_inverse=True)
    if len(present) <= 1:
        return False
    if not is_text(value.type) and len(present) == 2:  # noqa: PLR2004 - a threshold has two sides
        numbers = _numbers(value)
        one, other = numbers[codes == 0], numbers[codes == 1]
        return not (one.max() < other.min() or other.max() < one.min())
    found = value.dictionary_encode()
    pairs = found.indices.to_numpy().astype(np.int64) * len(present) + codes
    return not len(found.dictionary) == len(present) == len(np.unique(pairs))


def _is_another_value(value: pa.Array, label: np.ndarray) -> bool:
    """True where these rows show that a column is not the label of a regression.

    Both as a model has them: a FLOAT that was made of a DOUBLE is the same number.
    """
    if is_text(value.type):
        return True
    with np.errstate(over="ignore"):  # beyond FLOAT there is only infinity
        return not np.array_equal(_numbers(value).astype(np.float32), label.astype(np.float32))


def _numbers(value: pa.Array) -> np.ndarray:
    return np.asarray(value.cast(pa.float64(), safe=False))
