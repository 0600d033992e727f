"""Parity: the scores of the packaged graph beside the library's own, row by row."""

from __future__ import annotations

import numpy as np

from tallywright.errors import PackageError


def relative_gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference between two sets of scores, relative to the largest score (at least 1).

    Infinite where the shapes differ, or one of them has a score and the other has none.
    """
    known = np.isfinite(ours)
    if ours.shape != theirs.shape or (known != np.isfinite(theirs)).any():
        return float("inf")
    return float(np.abs(ours[known] - theirs[known]).max(initial=0.0)) / _scale(ours)


def rows_apart(own: np.ndarray, packaged: np.ndarray, tolerance: float) -> int:
    """How many rows differ by more than the tolerance, of scores with the same shape."""
    with np.errstate(invalid="ignore"):
        near = (np.abs(own - packaged) <= tolerance * _scale(own)) | (np.isnan(own) & np.isnan(packaged))
    return int((~near).reshape(len(own), -1).any(axis=1).sum())


def _scale(scores: np.ndarray) -> float:
    return max(1.0, float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0)))


def require_parity(own: np.ndarray, packaged: np.ndarray, tolerance: float) -> float:
    """The gap between the library's own scores and those of the package.

    Raises:
        PackageError: It is more than the tolerance; names how many rows differ by more.
    """
    gap = relative_gap(own, packaged)
    if gap <= tolerance:
        return gap
    if own.shape == packaged.shape:
        found = f"differs by {gap:.3g} in {rows_apart(own, packaged, tolerance):,} of {len(own):,} rows"
    else:
        found = f"differs in its shape {list(packaged.shape)}"
    raise PackageError(
        f"the score of the exported graph {found} from the library's own",
        expected=f"at most {tolerance:g} (relative to the largest score)",
        remedy="the conversion to ONNX is not exact here, whatever the data: use an estimator that is converted "
        "exactly, such as a bare forest or kind lightgbm (docs/estimators.md, Parity)",
    )
