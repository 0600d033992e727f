"""Whether a graph scores as the library does, asked on a handful of rows before the training: strange rows, too.

Graphs go wrong where nobody looks: at nulls, at zeros, at codes that the training has not seen, and in the last bit of
a value that lies on a threshold. A threshold of a tree lies halfway between two values, so there are rows for that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.errors import SpecError
from tallywright.packaging.preprocess import FIRST_CODE
from tallywright.training.estimators.tried_graph import opened, run_in_pieces
from tallywright.training.parity import relative_gap, rows_apart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.training.estimators.protocol import Fitted
    from tallywright.training.matrices import Rows

_OFTEN: Final = 0.2
"""The share of strange cells in a batch of strange rows."""
_SEED: Final = 11


def require_alike(fitted: Fitted, rows: Rows, path: str) -> None:
    """Compares a graph with the library's own scores.

    Args:
        fitted: Both of them.
        rows: What it was fitted on.
        path: The model's import path, for messages.

    Raises:
        SpecError: They differ by more than the bound of the whole training; says where and what to use instead.
    """
    session = opened(fitted.graph, lambda what: _refusal(path, what, fitted.tolerance))
    names = {one.name for one in session.get_inputs()}
    for what, batch in _batches(rows):
        try:
            own = np.asarray(fitted.predict(batch))
        except ValueError:
            # A library that takes no nulls, or no code that it has not seen, has no score of its own to compare with.
            if batch is rows:
                raise
            continue
        found = run_in_pieces(
            batch,
            lambda matrices: session.run(["score"], {name: one for name, one in matrices.items() if name in names})[0],
            lambda what: _refusal(path, what, fitted.tolerance),
        )
        gap = relative_gap(own, found)
        if gap <= fitted.tolerance:
            continue
        by = f"by {gap:.3g}" if np.isfinite(gap) else "or has no score where the other has one,"
        count = rows_apart(own, found, fitted.tolerance) if own.shape == found.shape else len(own)
        raise _refusal(
            path, f"differs from the library's own score {by} in {count:,} of {len(own):,} {what}", fitted.tolerance
        )


def _refusal(path: str, what: str, tolerance: float) -> SpecError:
    return SpecError(
        f"{path} cannot be converted exactly: the score of its graph {what}",
        expected=f"at most {tolerance:g} (relative to the largest score) on a handful of rows, before the training",
        remedy="use what is converted exactly: a bare forest (sklearn.ensemble.RandomForestClassifier or Regressor), "
        "HistGradientBoosting, a Pipeline of an imputer and a scaler before one of them, a linear model, or "
        "training.estimator of kind lightgbm",
    )


def _batches(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """Rows as they are, and with cells as production may have them, each kind by itself: a library may refuse one."""
    made = np.random.default_rng(_SEED)
    yield "rows of the training", rows
    if rows.numeric.shape[1]:
        between = np.column_stack([_between(column, made) for column in rows.numeric.T])
        yield "rows with zeros, and values halfway between those of the training", replace(rows, numeric=between)
    if rows.categorical.shape[1]:
        strange = made.random(rows.categorical.shape) < _OFTEN
        codes = np.where(strange, made.integers(0, FIRST_CODE, rows.categorical.shape), rows.categorical)
        yield "rows with null or unseen categories", replace(rows, categorical=codes)
    if rows.numeric.shape[1]:
        null = made.random(rows.numeric.shape) < _OFTEN
        null[0] = True
        yield "rows with nulls", replace(rows, numeric=np.where(null, np.float32(np.nan), rows.numeric))


def _between(column: np.ndarray, made: np.random.Generator) -> np.ndarray:
    """Values halfway between two of a column, neighbours or not; some are zero where the column comes near to it."""
    known = np.unique(column[np.isfinite(column)]).astype(np.float64)
    if not len(known):
        return column
    first = made.integers(0, len(known), len(column))
    step = made.integers(1, 4, len(column))
    values = (known[first] + known[np.minimum(first + step, len(known) - 1)]) / 2
    width = known[-1] - known[0]
    # Far outside of its values a column says nothing about the conversion, but much about float32.
    if known[0] - width <= 0 <= known[-1] + width:
        values[made.random(len(column)) < _OFTEN / 2] = 0
    return np.where(np.isnan(column), column, values).astype(np.float32)
