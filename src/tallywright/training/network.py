"""The model project's torch network, and the module around it that is exported.

A project file only says how features become logits. Everything that must be the same in training and in scoring
(normalisation, missing values, output activation) is wrapped around it here and travels inside the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from tallywright.errors import InputError
from tallywright.training.user_code.source import NetworkSource, find_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.training.objective import Objective

__all__ = ["NetworkDims", "NetworkSource", "Scaling", "ScoringModule", "find_network", "learn_scaling"]

CLIP: Final = 8.0
"""Normalised values beyond this many standard deviations are cut off: no outlier, not even an infinity, is louder."""


@dataclass(frozen=True, slots=True)
class NetworkDims:
    """The shapes a project's `build(dims)` works with.

    Args:
        numeric: Width of the numeric input: columns plus missing indicators; may be 0.
        categories: Number of codes of each categorical column, null (0) and unseen (1) included.
        hidden: Widths of the hidden layers, from the spec.
        dropout: Share of units dropped while training, from the spec.
        outputs: Width of the logits: 1, or the number of classes.
    """

    numeric: int
    categories: tuple[int, ...]
    hidden: tuple[int, ...]
    dropout: float
    outputs: int


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
    finite = np.isfinite(numeric)
    empty = [name for name, some in zip(columns, finite.any(axis=0), strict=True) if not some]
    if empty:
        raise InputError(
            f"no value at all in the training rows of {', '.join(empty)}",
            expected="some finite values in every column of training.numeric",
            remedy="repair the source of the column, or take it out of training.numeric",
        )
    known = np.where(finite, numeric.astype(np.float64), 0.0)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = known.sum(axis=0) / count
    spread = np.sqrt((np.where(finite, known - mean, 0.0) ** 2).sum(axis=0) / count)
    # A constant column has a rounding error for a spread; dividing by it would blow that error up.
    spread = np.where(spread > 1e-6 * np.maximum(np.abs(mean), 1.0), spread, 1.0)
    missing = tuple(int(i) for i in np.flatnonzero(np.isnan(numeric).any(axis=0)))
    return Scaling(mean.astype(np.float32), spread.astype(np.float32), missing)


class ScoringModule(torch.nn.Module):  # type: ignore[misc] # torch is untyped here
    """The project's network with everything that must travel with it; the exported graph is this module.

    Inputs: `numeric` float32 [N, F] with NaN for null, `categorical` int64 [N, C] of category codes; a matrix without
    columns is left out (None). Output of `forward`: the score, see `Objective.score`.
    """

    def __init__(self, network: torch.nn.Module, scaling: Scaling, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective
        self.has_indicators = bool(scaling.missing)
        self.register_buffer("mean", torch.from_numpy(scaling.mean.copy()))
        self.register_buffer("spread", torch.from_numpy(scaling.spread.copy()))
        self.register_buffer("missing", torch.tensor(scaling.missing, dtype=torch.int64))

    def logits(self, numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> torch.Tensor:
        """The network's raw outputs [N, outputs]."""
        return self.network(self._dense(numeric, categorical), self._codes(numeric, categorical))

    def forward(self, numeric: torch.Tensor | None = None, categorical: torch.Tensor | None = None) -> torch.Tensor:
        """The score of each row."""
        return self.objective.score(self.logits(numeric, categorical))

    def _dense(self, numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> torch.Tensor:
        if numeric is None:
            return categorical[:, :0].to(self.mean.dtype)  # type: ignore[index] # one of the two is there
        null = torch.isnan(numeric)
        scaled = ((numeric - self.mean) / self.spread).clamp(-CLIP, CLIP)
        dense = torch.where(null, torch.zeros_like(scaled), scaled)
        if not self.has_indicators:
            return dense
        indicators = torch.index_select(null, 1, self.missing).to(dense.dtype)
        return torch.cat([dense, indicators], dim=1)

    @staticmethod
    def _codes(numeric: torch.Tensor | None, categorical: torch.Tensor | None) -> torch.Tensor:
        return categorical if categorical is not None else numeric[:, :0].to(torch.int64)  # type: ignore[index]
