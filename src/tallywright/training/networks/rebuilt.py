"""Builds the network of a package again, from the source and the weights that are recorded in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tallywright.errors import PackageError, SpecError, UsageError
from tallywright.packaging.meta import TUNED
from tallywright.tasks import NUMBERED, TASKS
from tallywright.training.matrices import codes_of
from tallywright.training.networks.module import NetworkDims, ScoringModule
from tallywright.training.objective import Objective
from tallywright.training.scaling import Scaling
from tallywright.training.user_code.recorded import recorded_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallywright.packaging.package import Package
    from tallywright.training.user_code.source import NetworkSource


def rebuilt_network(package: Package) -> ScoringModule:
    """The module of a package whose model is a torch network: on the CPU, in evaluation mode.

    Raises:
        UsageError: The model is none, or the package is of the time before and does not say enough.
        PackageError: The recorded source does not build a network for the recorded weights.
    """
    source, problem = recorded_network(package), "its training configuration has no network"
    for settings in _settings(package, source.path.name):
        try:
            return _module(package, source, settings)
        except (SpecError, RuntimeError) as error:
            problem = str(error).splitlines()[0]
    raise PackageError(
        f"package {package.digest[:12]}: the network cannot be built again: {problem}",
        expected="the network that was trained, from the source in the package",
        remedy="use the format onnx, whose graph is the package's own",
    )


def _module(package: Package, source: NetworkSource, settings: Mapping[str, Any]) -> ScoringModule:
    """The module by these settings; raises RuntimeError where the recorded weights are not those of it."""
    weights = package.weights()
    scaling = Scaling(weights["mean"], weights["spread"], tuple(int(one) for one in weights["missing"]))
    objective = _objective(package, settings)
    dims = NetworkDims(
        numeric=scaling.width,
        categories=codes_of(package.preprocess),
        hidden=tuple(settings["hidden"]),
        dropout=settings["dropout"],
        outputs=objective.outputs,
    )
    module = ScoringModule(source.build(dims, quiet=True), scaling, objective)
    # A copy: torch warns of memory that it must not write to.
    module.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in weights.items()})
    module.eval()
    return module


def _settings(package: Package, module: str) -> Iterator[Mapping[str, Any]]:
    """Yields the recorded settings of the networks in that file: of a list of estimators, more than one may be."""
    config = package.meta.training_config
    training = config.get("training", {})
    estimators = training.get("estimator") or ()
    listed = [estimators] if isinstance(estimators, dict) else list(estimators)
    chosen = (config.get(TUNED) or {}).get("estimator") or {}
    for one in (chosen, training.get("network") or {}, *listed):
        if one.get("module") == module and {"hidden", "dropout"} <= one.keys():
            yield one


def _objective(package: Package, settings: Mapping[str, Any]) -> Objective:
    """The objective with which the network was fitted."""
    task, kind = package.postprocess.task, TASKS[package.postprocess.task]
    classes = tuple(range(len(package.postprocess.classes) or len(NUMBERED))) if kind.classifies else ()
    recorded = package.meta.training_config.get("objective")
    if recorded is not None:
        return Objective(task, classes, tuple(recorded["weights"]), recorded["location"], recorded["scale"])
    if kind.classifies and settings.get("class_weight") == "none":
        return Objective(task, classes, (1.0,) * len(classes))
    raise UsageError(
        f"version {package.digest[:12]} of {package.meta.model} does not say how its scores were scaled",
        expected="a version of a later training, which records that",
        remedy="use the format onnx, wheel or docker, or train the model again",
    )
