"""How numeric columns are normalised: learnt from the training rows, applied by networks and linear models alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIP: Final = 8.0
"""Normalised values beyond this many standard deviations are cut off: no outlier, not even an infinity, is louder."""


MOST_DENSE: Final = 255
"""Codes in all, above which a one-hot matrix is kept sparse."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How numeric columns are normalised, learnt from the training rows.

    Args:
        mean: Mean of each column over its finite values, float32.
        spread: Standard deviation of each column, 1 where it is 0, float32.
        missing: Numbers of the columns that have nulls in training and so get a missing indicator.
    """

    mean: np.ndarray
    spread: np.ndarray
    missing: tuple[int, ...]

    @property
    def width(self) -> int:
        """Columns plus indicators."""
        return len(self.mean) + len(self.missing)


def learn_scaling(numeric: np.ndarray, columns: Sequence[str]) -> Scaling:
    """The scaling of a training matrix, with NaN for null.

    Raises:
        InputError: A column without a single finite value.
    """
    require_values(numeric, columns)
    finite = np.isfinite(numeric)
    known = np.where(finite, numeric.astype(np.float64), 0.0)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = known.sum(axis=0) / count
    spread = np.sqrt((np.where(finite, known - mean, 0.0) ** 2).sum(axis=0) / count)
    # A constant column has a rounding error for a spread; dividing by it would blow that error up.
    spread = np.where(spread > 1e-6 * np.maximum(np.abs(mean), 1.0), spread, 1.0)
    missing = tuple(int(i) for i in np.flatnonzero(np.isnan(numeric).any(axis=0)))
    return Scaling(mean.astype(np.float32), spread.astype(np.float32), missing)


def require_values(numeric: np.ndarray, columns: Sequence[str]) -> None:
    """Refuses a training matrix, with NaN for null, from some column of which nothing can be learnt.

    Raises:
        InputError: A column without a single finite value.
    """
    finite = np.isfinite(numeric)
    empty = [name for name, some in zip(columns, finite.any(axis=0), strict=True) if not some]
    if empty:
        raise InputError(
            f"no value at all in the training rows of {', '.join(empty)}",
            expected="some finite values in every column of training.numeric",
            remedy="repair the source of the column, or take it out of training.numeric",
        )


def normalised(scaling: Scaling, codes: Sequence[int], numeric: np.ndarray, categorical: np.ndarray) -> Any:
    """Normalised columns with null as 0, indicators of null, one-hot categories: float32 [N, D].

    With many categories the matrix is sparse.
    """
    from scipy import sparse

    null = np.isnan(numeric)
    scaled = np.where(null, 0, np.clip((numeric - scaling.mean) / scaling.spread, -CLIP, CLIP))
    dense = np.hstack([scaled, null[:, list(scaling.missing)]]).astype(np.float32)
    rows = len(dense)
    hot = [
        sparse.csr_matrix((np.ones(rows, dtype=np.float32), categorical[:, number], np.arange(rows + 1)), (rows, count))
        for number, count in enumerate(codes)
    ]
    if sum(codes) <= MOST_DENSE:
        return np.hstack([dense, *(part.toarray() for part in hot)])
    return sparse.hstack([sparse.csr_matrix(dense), *hot], format="csr")
