"""What the libraries share: their matrix, class weights, quiet, errors that say what to do."""

from __future__ import annotations

import importlib.util
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from tallywright.errors import SpecError, TallyError
from tallywright.training.user_code.door import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.training.estimators.model_graph import Link
    from tallywright.training.matrices import Rows
    from tallywright.training.objective import Objective


def require_installed(package: str, kind: str) -> None:
    """Refuses an estimator whose package is not here.

    Raises:
        SpecError: Names the extra.
    """
    if importlib.util.find_spec(package) is None:
        raise SpecError(
            f"training.estimator is of kind {kind}, and {package} is not installed here",
            expected=f"the package {package} where models are trained",
            remedy="pip install 'tallywright[train,trees]'; to score such a model nothing of it is needed",
        )


@contextmanager
def errors_of(library: str) -> Iterator[None]:
    """Turns what a library refuses into an error of the spec.

    Raises:
        SpecError: With the first line of what the library says.
    """
    try:
        yield
    except (TallyError, Stopped, MemoryError):
        raise
    except Exception as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
        raise SpecError(
            f"{library} refuses to learn: {type(error).__name__}: {text}",
            expected="parameters and data that the library takes",
            remedy="look at training.estimator and its `params`; the text is the library's own",
        ) from error


def plain_matrix(rows: Rows) -> np.ndarray:
    """Numeric columns with NaN for null (and for what is infinite), then codes: float32 [N, F + C]."""
    finite = np.where(np.isinf(rows.numeric), np.float32(np.nan), rows.numeric)
    return np.ascontiguousarray(np.hstack([finite, rows.categorical.astype(np.float32)]))


def learnt_values(objective: Objective, target: np.ndarray) -> np.ndarray:
    """The targets as a library of trees wants them: class numbers, or values as they are in the data."""
    return objective.encode(target).astype(np.int64) if objective.kind.classifies else target.astype(np.float64)


def weights_of(objective: Objective, values: np.ndarray) -> np.ndarray | None:
    """A weight for each row by its class number; None where all weigh the same."""
    return np.asarray(objective.weights)[values] if objective.shifts else None


def scores_of_raw(objective: Objective, raw: np.ndarray, link: Link) -> np.ndarray:
    """Scores of raw outputs [N, outputs], in float64."""
    shifts = objective.shifts
    if shifts:
        raw = raw - (shifts[1] - shifts[0] if objective.kind.thresholds else np.asarray(shifts))
    if objective.kind.per_class:
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    column = raw[:, 0]
    if link == "identity":
        return np.asarray(column)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(column) if link == "exp" else 1 / (1 + np.exp(-column)))


@contextmanager
def quiet() -> Iterator[None]:
    """One thread, so that figures do not depend on the number of cores; what a library warns about is its own."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
