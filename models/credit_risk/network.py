"""The network of `credit_risk`: category embeddings beside the numeric columns, dense layers, and a linear path."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from tallywright.training.network import NetworkDims

_WIDTH = 3
"""Of an embedding: no category here has more than ten values."""


class CreditNetwork(nn.Module):
    """A scorecard (the linear path), and layers that learn what a sum of columns cannot say."""

    def __init__(self, dims: NetworkDims) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(codes, _WIDTH) for codes in dims.categories])
        for table in self.embeddings:
            nn.init.normal_(table.weight, std=0.1)
        features = dims.numeric + _WIDTH * len(dims.categories)
        layers: list[nn.Module] = []
        for before, after in pairwise((features, *dims.hidden)):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dims.dropout)]
        self.dense = nn.Sequential(*layers, nn.Linear((features, *dims.hidden)[-1], dims.outputs))
        self.scorecard = nn.Linear(features, dims.outputs, bias=False)

    def forward(self, numeric: torch.Tensor, categorical: torch.Tensor) -> torch.Tensor:
        """Logits [rows, outputs] of normalised numeric columns and category codes."""
        parts = [numeric, *(table(categorical[:, i]) for i, table in enumerate(self.embeddings))]
        features = torch.cat(parts, dim=1)
        return self.dense(features) + self.scorecard(features)


def build(dims: NetworkDims) -> nn.Module:
    """The network for these shapes."""
    return CreditNetwork(dims)
