"""The network of `flight_delays`: embeddings of the categories beside the numeric columns, then dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from tallywright.training.network import NetworkDims


class DelayNetwork(nn.Module):
    """Dense layers over numeric columns and category embeddings, with a direct linear path beside them.

    The linear path is a logistic regression; the layers have to learn only what it misses.
    """

    def __init__(self, dims: NetworkDims) -> None:
        super().__init__()
        widths = [min(8, 1 + codes // 3) for codes in dims.categories]
        self.embeddings = nn.ModuleList(
            [nn.Embedding(codes, width) for codes, width in zip(dims.categories, widths, strict=True)]
        )
        for table in self.embeddings:
            nn.init.normal_(table.weight, std=0.1)
            with torch.no_grad():
                table.weight[:2].zero_()  # null and unseen: neutral until training rows say otherwise
        features = dims.numeric + sum(widths)
        layers: list[nn.Module] = []
        for before, after in zip((features, *dims.hidden), dims.hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dims.dropout)]
        self.dense = nn.Sequential(*layers)
        self.head = nn.Linear(dims.hidden[-1] if dims.hidden else features, dims.outputs)
        self.linear = nn.Linear(features, dims.outputs, bias=False)

    def forward(self, numeric: torch.Tensor, categorical: torch.Tensor) -> torch.Tensor:
        """Logits [rows, outputs] of normalised numeric columns and category codes."""
        parts = [numeric, *(table(categorical[:, i]) for i, table in enumerate(self.embeddings))]
        features = torch.cat(parts, dim=1)
        return self.head(self.dense(features)) + self.linear(features)


def build(dims: NetworkDims) -> nn.Module:
    """The network for these shapes."""
    return DelayNetwork(dims)
