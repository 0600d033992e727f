"""The model project's torch network, and the module around it that is exported.

A project file only says how features become logits. Everything that must be the same in training and in scoring
(normalisation, missing values, output activation) is wrapped around it here and travels inside the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tallywright.training.networks.losses import scores_of
from tallywright.training.scaling import CLIP

if TYPE_CHECKING:
    from tallywright.training.objective import Objective
    from tallywright.training.scaling import Scaling


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


class ScoringModule(torch.nn.Module):  # type: ignore[misc] # torch is untyped here
    """The project's network with everything that must travel with it; the exported graph is this module.

    Inputs: `numeric` float32 [N, F] with NaN for null, `categorical` int64 [N, C] of category codes; a matrix without
    columns is left out (None). Output of `forward`: the score, see `losses.scores_of`.
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
        return scores_of(self.objective, self.logits(numeric, categorical))

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
