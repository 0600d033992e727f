"""The losses of a network, and how its raw outputs become scores, for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from tallywright.training.objective import Objective


def training_loss(objective: Objective, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The mean loss of a batch that the fit minimises, class weights included."""
    if not objective.kind.classifies:
        return functional.mse_loss(logits.squeeze(1), target)
    weights = torch.tensor(objective.weights, dtype=logits.dtype, device=logits.device)
    if objective.kind.thresholds:
        return functional.binary_cross_entropy_with_logits(
            logits.squeeze(1), target, weight=torch.where(target > 0, weights[1], weights[0])
        )
    return functional.cross_entropy(logits, target, weight=weights)


def plain_loss(objective: Objective, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The summed loss of the scores as they are served: log loss, or squared error in standard deviations."""
    corrected = _corrected(objective, logits)
    if not objective.kind.classifies:
        return functional.mse_loss(corrected.squeeze(1), target, reduction="sum")
    if objective.kind.thresholds:
        return functional.binary_cross_entropy_with_logits(corrected.squeeze(1), target, reduction="sum")
    return functional.cross_entropy(corrected, target, reduction="sum")


def scores_of(objective: Objective, logits: torch.Tensor) -> torch.Tensor:
    """Scores in the form of the package: probability, probabilities [N, K], or value."""
    corrected = _corrected(objective, logits)
    if objective.kind.per_class:
        return torch.softmax(corrected, dim=1)
    if objective.kind.thresholds:
        return torch.sigmoid(corrected.squeeze(1))
    return corrected.squeeze(1) * objective.scale + objective.location


def _corrected(objective: Objective, logits: torch.Tensor) -> torch.Tensor:
    """The logits with the class weights' shift of the odds taken out."""
    shifts = objective.shifts
    if not shifts:
        return logits
    if objective.kind.thresholds:
        return logits - (shifts[1] - shifts[0])
    return logits - torch.tensor(shifts, dtype=logits.dtype, device=logits.device)
