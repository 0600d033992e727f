"""The estimator `torch`: the project's own network, fitted by the loop here and exported to ONNX."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tallywright.observability import log
from tallywright.packaging.preprocess import fit_preprocess
from tallywright.training.estimators.protocol import TRIAL_SECONDS, Fitted
from tallywright.training.networks.export import PARITY_ROWS, TOLERANCE, export_onnx, torch_scores
from tallywright.training.networks.loop import FitRequest, fit_network
from tallywright.training.networks.module import NetworkDims, ScoringModule
from tallywright.training.networks.trial import Trial
from tallywright.training.scaling import learn_scaling
from tallywright.training.user_code.door import user_code
from tallywright.training.user_code.source import find_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from tallywright.packaging.preprocess import Preprocess
    from tallywright.spec import Project
    from tallywright.spec.estimators import Torch
    from tallywright.training.estimators.protocol import FitTask
    from tallywright.training.matrices import Rows
    from tallywright.training.networks.checkpoint import Epoch


class TorchNetwork:
    """The network of a project's spec.

    Raises:
        SpecError: The network file is not usable.
    """

    def __init__(self, project: Project, section: Torch) -> None:
        self._spec, self._section = project.spec.training, section
        self._source = find_network(project.folder, section.module)
        self.texts: Mapping[str, str] = {section.module: self._source.text}
        self.identity: Mapping[str, Any] = {"network_sha256": self._source.sha256, "torch": torch.__version__}
        self.class_weight = section.class_weight

    def preprocess(self, train: pa.Table) -> Preprocess:
        """Learns the categories from the training table."""
        return fit_preprocess(train, self._spec.numeric, self._spec.categorical, self._spec.min_category_rows)

    def fit(self, task: FitTask) -> Fitted:
        """Tries the network on a handful of rows, fits it, and exports it."""
        with user_code(self._source.path, always=False):
            return self._fit(task)

    def _fit(self, task: FitTask) -> Fitted:
        spec, section = self._spec, self._section
        epochs, encode = task.rounds or section.epochs, task.objective.encode
        train = replace(task.train, target=encode(task.train.target))
        validation = task.validation and replace(task.validation, target=encode(task.validation.target))
        scaling = learn_scaling(train.numeric, spec.numeric)
        dims = NetworkDims(scaling.width, task.codes, section.hidden, section.dropout, task.objective.outputs)

        def module(*, quiet: bool = False) -> ScoringModule:
            return ScoringModule(self._source.build(dims, quiet=quiet), scaling, task.objective)

        def told(epoch: Epoch) -> None:
            _log_epoch(epoch, epochs)
            task.doing(f"epoch {epoch.epoch + 1} of at most {epochs}", None)
            if task.validated is not None and epoch.validation_loss is not None:
                task.validated(epoch.epoch, epoch.validation_loss)

        task.doing(f"trying {self._source.path.name} on a handful of rows", TRIAL_SECONDS)
        Trial(self._source.path, partial(module, quiet=True), dims, train, spec.seed).run()
        task.doing(f"epoch 1 of at most {epochs}", None)
        fitted = fit_network(
            FitRequest(
                module=module,
                train=train,
                validation=validation,
                spec=spec,
                settings=section,
                configuration=task.configuration,
                checkpoint=task.checkpoint,
                progress=told,
                rounds=task.rounds,
            )
        )
        history = fitted.progress.history
        return Fitted(
            graph=export_onnx(fitted.module, *_trace_rows(train)),
            predict=partial(self._scores, fitted.module),
            tolerance=TOLERANCE,
            rounds=fitted.progress.best_epoch,
            weights={name: tensor.numpy() for name, tensor in fitted.module.state_dict().items()},
            curves=_curves(history),
            device=fitted.device,
        )

    def _scores(self, module: ScoringModule, rows: Rows) -> np.ndarray:
        with user_code(self._source.path, quiet=True, always=False):
            return torch_scores(module, rows.numeric, rows.categorical)


def _curves(history: tuple[Epoch, ...]) -> dict[str, tuple[float, ...]]:
    validated = [epoch.validation_loss for epoch in history if epoch.validation_loss is not None]
    return {
        "train_loss": tuple(epoch.train_loss for epoch in history),
        **({"validation_loss": tuple(validated)} if validated else {}),
        "learning_rate": tuple(epoch.learning_rate for epoch in history),
    }


def _log_epoch(epoch: Epoch, epochs: int) -> None:
    validation = "" if epoch.validation_loss is None else f", validation {epoch.validation_loss:.4f}"
    log.info("epoch %d of at most %d: loss %.4f%s", epoch.epoch, epochs, epoch.train_loss, validation)


def _trace_rows(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Rows for the parity check: the first ones, and then rows with nulls, so that parity covers nulls too."""
    nulls = np.flatnonzero(np.isnan(rows.numeric).any(axis=1))[: PARITY_ROWS // 2]
    chosen = np.concatenate([np.arange(min(len(rows.target), PARITY_ROWS - len(nulls))), nulls])
    return rows.numeric[chosen], rows.categorical[chosen]
