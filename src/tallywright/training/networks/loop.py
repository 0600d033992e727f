"""The fit itself: epochs over seeded shuffles, early stopping, a checkpoint after each epoch.

The same arrays, settings and seed give the same weights bit for bit, in one go or resumed after a kill.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from tallywright.errors import SpecError
from tallywright.training.networks.checkpoint import (
    Epoch,
    Progress,
    State,
    load_checkpoint,
    pack,
    save_checkpoint,
    unpack,
)
from tallywright.training.networks.determinism import choose_device, deterministic
from tallywright.training.networks.losses import plain_loss, training_loss
from tallywright.training.networks.optimizer import AdamW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallywright.spec.estimators import Network
    from tallywright.spec.sections import Training
    from tallywright.training.matrices import Rows
    from tallywright.training.networks.module import ScoringModule

EVALUATION_ROWS: Final = 16_384
_RUNAWAY: Final = 1e4
"""No weight of a fit that goes well is as large."""
FINAL_LEARNING_RATE: Final = 0.02
"""The learning rate falls along a cosine to this share of its start at the last epoch."""


@dataclass(frozen=True, slots=True)
class FitRequest:
    """All that determines a fit.

    Args:
        module: Called once inside the deterministic block, so that the initial weights come from the seed.
        train: Rows to learn from.
        validation: Rows for early stopping; None where `rounds` says how long.
        spec: Seed and device.
        settings: The network's own: epochs, learning rate, and the like.
        configuration: Digest of data, spec and code, see `Progress`.
        checkpoint: The checkpoint's file; None keeps none.
        progress: Called after each epoch.
        rounds: Without `validation`: the fit ends after so many epochs of the spec's learning-rate schedule.
    """

    module: Callable[[], ScoringModule]
    train: Rows
    validation: Rows | None
    spec: Training
    settings: Network
    configuration: str
    checkpoint: Path | None = None
    progress: Callable[[Epoch], None] | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """The module with the weights of the best epoch, on the CPU in evaluation mode, and how it came about."""

    module: ScoringModule
    progress: Progress
    device: str


def fit_network(request: FitRequest) -> FittedNetwork:
    """Fits the network; continues from the checkpoint when it is of the same configuration."""
    device = choose_device(request.spec.device)
    with deterministic(request.spec.seed):
        fit = _Fit(request, device)
        fit.resume()
        while not fit.finished:
            fit.run_epoch()
            fit.save()
        module = fit.best_module()
    return FittedNetwork(module, fit.state.progress, str(device))


class _Fit:
    """A fit in progress."""

    def __init__(self, request: FitRequest, device: torch.device) -> None:
        self.request = request
        self.settings = request.settings
        self.device = device
        self.module: ScoringModule = request.module()
        self.module.to(device)
        self.optimizer = AdamW(
            self.module.parameters(),
            learning_rate=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        self.shuffle = torch.Generator().manual_seed(request.spec.seed)
        self.train = _Tensors(request.train, device)
        self.validation = None if request.validation is None else _Tensors(request.validation, device)
        self.best = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        self.state = State(Progress(configuration=request.configuration))

    @property
    def finished(self) -> bool:
        progress = self.state.progress
        if self.request.rounds is not None:
            return progress.epochs_done >= self.request.rounds
        waited = progress.epochs_done - progress.best_epoch
        return progress.epochs_done >= self.settings.epochs or waited >= self.settings.patience

    def run_epoch(self) -> None:
        done = self.state.progress.epochs_done
        train_loss = self._learn(done)
        epoch = Epoch(
            epoch=done + 1,
            train_loss=train_loss,
            validation_loss=self._validate(),
            learning_rate=self.optimizer.learning_rate,
        )
        self._require_finite(epoch)
        best = self.state.progress.best_epoch
        if epoch.validation_loss is None or epoch.validation_loss < self.state.progress.best_loss:
            best = epoch.epoch
            self.best = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        history = (*self.state.progress.history, epoch)
        self.state.progress = self.state.progress.model_copy(update={"history": history, "best_epoch": best})
        if self.request.progress is not None:
            self.request.progress(epoch)

    def _require_finite(self, epoch: Epoch) -> None:
        """Stops at the first figure that is not finite: nothing after it would be.

        Raises:
            SpecError: With the largest weight, which tells a fit that runs away from a network that gives no numbers.
        """
        losses = (("loss", epoch.train_loss), ("validation loss", epoch.validation_loss))
        found = next(
            (f"the {name} is {value:g}" for name, value in losses if value is not None and not math.isfinite(value)), ""
        )
        weights = {name: tensor.detach() for name, tensor in self.module.named_parameters() if tensor.numel()}
        lost = next((name for name, tensor in weights.items() if not torch.isfinite(tensor).all()), "")
        if not found and not lost:
            return
        sizes = {name: float(tensor.abs().nan_to_num(0.0, torch.inf).max()) for name, tensor in weights.items()}
        widest = max(sizes, key=lambda name: sizes[name])
        told = f"{lost} has values that are not finite" if lost else f"the largest weight is {sizes[widest]:.3g}"
        away = bool(lost) or sizes[widest] > _RUNAWAY
        raise SpecError(
            f"epoch {epoch.epoch}: {found or 'the losses are finite'}; {told}" + f" ({widest})" * (not lost),
            expected="finite losses and weights after every epoch",
            remedy=f"the fit has run away: lower training.estimator.learning_rate ({self.settings.learning_rate:g})"
            if away
            else "the weights are sound, so the network itself gives no numbers for some rows: look at its `forward`",
        )

    def _learn(self, epoch: int) -> float:
        self.module.train()
        rows, size = self.train.rows, self.settings.batch_size
        # A last batch of a single row would break layers that need a spread within the batch.
        starts = [start for start in range(0, rows, size) if rows - start > 1 or rows == 1]
        order = torch.randperm(rows, generator=self.shuffle).to(self.device)
        total = torch.zeros((), dtype=torch.float64)
        for step, start in enumerate(starts):
            self._set_learning_rate((epoch + step / len(starts)) / self.settings.epochs)
            numeric, categorical, target = self.train.take(order[start : start + size])
            self.optimizer.clear()
            loss = training_loss(self.module.objective, self.module.logits(numeric, categorical), target)
            if not torch.isfinite(loss):
                return float(loss.detach())  # before a step: weights that are sound yet tell whose fault it is
            loss.backward()
            self.optimizer.step()
            total += loss.detach().to("cpu", torch.float64) * len(target)
        return float(total) / rows

    def _set_learning_rate(self, share: float) -> None:
        fall = FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        self.optimizer.learning_rate = self.settings.learning_rate * fall

    def _validate(self) -> float | None:
        if self.validation is None:
            return None
        self.module.eval()
        total = 0.0
        with torch.no_grad():
            for start in range(0, self.validation.rows, EVALUATION_ROWS):
                numeric, categorical, target = self.validation.part(start, start + EVALUATION_ROWS)
                logits = self.module.logits(numeric, categorical)
                total += float(plain_loss(self.module.objective, logits.double(), target))
        return total / self.validation.rows

    def save(self) -> None:
        if self.request.checkpoint is None:
            return
        generators = {"torch": torch.get_rng_state(), "shuffle": self.shuffle.get_state()}
        if self.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.device)
        self.state.tensors = (
            pack("model", self.module.state_dict())
            | pack("best", self.best)
            | pack("optimizer", self.optimizer.tensors())
            | pack("random", generators)
        )
        save_checkpoint(self.request.checkpoint, self.state)

    def resume(self) -> None:
        if self.request.checkpoint is None:
            return
        state = load_checkpoint(self.request.checkpoint, self.request.configuration)
        if state is None:
            return
        self.state = state
        self.module.load_state_dict(unpack("model", state.tensors))
        self.best = unpack("best", state.tensors)
        self.optimizer.restore(unpack("optimizer", state.tensors))
        generators = unpack("random", state.tensors)
        torch.set_rng_state(generators["torch"])
        self.shuffle.set_state(generators["shuffle"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(generators["cuda"], self.device)

    def best_module(self) -> ScoringModule:
        self.module.load_state_dict(self.best)
        self.module.to("cpu").eval()
        return self.module


class _Tensors:
    """Rows on the device; a matrix without columns is None, as in the exported graph."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.rows = len(rows.target)
        self.numeric = torch.from_numpy(rows.numeric).to(device) if rows.numeric.shape[1] else None
        self.categorical = torch.from_numpy(rows.categorical).to(device) if rows.categorical.shape[1] else None
        self.target = torch.from_numpy(rows.target).to(device)

    def take(self, index: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        numeric = None if self.numeric is None else self.numeric[index]
        categorical = None if self.categorical is None else self.categorical[index]
        return numeric, categorical, self.target[index]

    def part(self, start: int, stop: int) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor]:
        numeric = None if self.numeric is None else self.numeric[start:stop]
        categorical = None if self.categorical is None else self.categorical[start:stop]
        return numeric, categorical, self.target[start:stop]
