"""The state of a fit after an epoch, in one safetensors file whose header holds the rest as JSON.

One file means one atomic rename: a kill leaves the last epoch's checkpoint or this one's. Nothing is pickled.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import safetensors
from pydantic import ValidationError
from safetensors.torch import save_file

from tallywright.errors import StorageError
from tallywright.observability import log
from tallywright.records import Record

if TYPE_CHECKING:
    from pathlib import Path

    import torch

_HEADER = "tallywright"


class Epoch(Record):
    """The losses of one epoch; `validation_loss` is log loss, or squared error in standard deviations (regression).

    It is None where no rows are left to validate on.
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    learning_rate: float


class Progress(Record):
    """The progress of a fit after its last whole epoch.

    `configuration` is the digest of everything that determines the result: a checkpoint of another one is no use.
    """

    configuration: str
    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0

    @property
    def epochs_done(self) -> int:
        """The number of whole epochs behind us."""
        return len(self.history)

    @property
    def best_loss(self) -> float:
        """The lowest validation loss so far; infinite before the first epoch."""
        found = self.history[self.best_epoch - 1].validation_loss if self.best_epoch else None
        return float("inf") if found is None else found


@dataclass(slots=True)
class State:
    """The tensors of a fit: model, best model so far, optimizer, random generators."""

    progress: Progress
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, state: State) -> None:
    """Replaces the checkpoint atomically.

    Raises:
        StorageError: The folder cannot be written.
    """
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    tensors = {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in state.tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft, metadata={_HEADER: state.progress.to_json()})
        draft.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        with suppress(OSError):
            draft.unlink()
        raise StorageError(
            f"cannot write the checkpoint {path}: {error}", remedy="make the work folder writable, or free some space"
        ) from error


def load_checkpoint(path: Path, configuration: str) -> State | None:
    """The checkpoint of the same configuration, or None: then the fit starts anew, to the same result."""
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            progress = Progress.from_json((file.metadata() or {}).get(_HEADER, ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError, ValidationError) as error:
        log.warning("checkpoint %s cannot be read (%s): training starts anew", path, error)
        return None
    if progress.configuration != configuration:
        log.info("checkpoint %s belongs to other data, spec or code: training starts anew", path)
        return None
    return State(progress, tensors)


def pack(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors with a prefix to their names."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def unpack(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors that `pack` put under this prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
