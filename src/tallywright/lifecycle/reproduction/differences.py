"""What two packages of one recipe have in common, part by part, and how far the rest is apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tallywright.packaging.package import ONNX, WEIGHTS
from tallywright.packaging.predictor import Predictor
from tallywright.training.parity import relative_gap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.packaging.package import Package

_DECIDES: Final = (ONNX, WEIGHTS, "preprocess.json")
"""The files that make a score of a row."""


@dataclass(frozen=True, slots=True)
class Remade:
    """A package beside the one that was made again.

    Attributes:
        which: `judged`, or `refit`.
        recorded: Digest of the package as it was recorded.
        made: Digest of the one that was made again.
        differing: The files that are not the same bits.
        weights: The largest difference of a weight, relative to the largest one of its tensor.
        scores: The largest difference of a score of the recorded sample, relative to the largest one.
        metrics: Figure to its value as recorded and as made again, where these differ.
        figures: How many figures were compared.
    """

    which: str
    recorded: str
    made: str
    differing: tuple[str, ...]
    weights: float
    scores: float
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    figures: int = 0

    @property
    def same_bits(self) -> bool:
        """True where what makes a score, and each figure, is the same to the bit."""
        return not self.metrics and not set(_DECIDES).intersection(self.differing)

    @property
    def largest(self) -> float:
        """The largest difference of a weight, a score or a figure."""
        apart = (abs(one - other) for one, other in self.metrics.values())
        return max(self.weights, self.scores, *apart)

    def within(self, bound: float) -> bool:
        """True where it is reproduced: the same bits, or nothing further apart than the bound."""
        return self.same_bits or (bound > 0 and self.largest <= bound)

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON-able values."""
        return {
            "package": self.which,
            "recorded": self.recorded,
            "made": self.made,
            "same_package": self.recorded == self.made,
            "same_bits": self.same_bits,
            "differing_files": list(self.differing),
            "weight_difference": self.weights,
            "score_difference": self.scores,
            "figures": self.figures,
            "metric_differences": {name: list(pair) for name, pair in self.metrics.items()},
        }


def compared(which: str, recorded: Package, made: Package) -> Remade:
    """Compares a recorded package with one that was made of the same recipe."""
    files = {*recorded.manifest.files, *made.manifest.files}
    differing = {name for name in files if recorded.manifest.files.get(name) != made.manifest.files.get(name)}
    sample, expected = recorded.parity()
    # The figures of a refit are those of the judged package, which was given.
    figures = {} if recorded.meta.judged else _figures(recorded, made)
    return Remade(
        which=which,
        recorded=recorded.digest,
        made=made.digest,
        differing=tuple(sorted(differing)),
        weights=0.0 if differing.isdisjoint(_DECIDES) else weight_difference(_weights(recorded), _weights(made)),
        scores=0.0 if differing.isdisjoint(_DECIDES) else relative_gap(expected, Predictor(made).score(sample)),
        metrics={name: pair for name, pair in figures.items() if pair[0] != pair[1]},
        figures=len(figures),
    )


def weight_difference(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The largest difference of two weights, relative to the largest one of its tensor; infinite for other shapes."""
    if {name: values.shape for name, values in one.items()} != {name: values.shape for name, values in other.items()}:
        return float("inf")
    found = 0.0
    for name, values in one.items():
        apart = np.abs(values.astype(np.float64) - other[name].astype(np.float64)).max(initial=0.0)
        scale = float(np.abs(values.astype(np.float64)).max(initial=0.0)) or 1.0
        found = max(found, float(apart) / scale if np.isfinite(apart) else float("inf"))
    return found


def _weights(package: Package) -> dict[str, np.ndarray]:
    """The parameters of a network by name, else all numbers of the graph by where they stand."""
    return package.weights() or _numbers_of(package.read(ONNX))


def _numbers_of(graph: bytes) -> dict[str, np.ndarray]:
    """The float constants and attributes of a graph."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_model_from_string(graph)
    found = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer if one.data_type == one.FLOAT}
    for number, node in enumerate(model.graph.node):
        for attribute in node.attribute:
            if attribute.floats:
                found[f"{number}.{attribute.name}"] = np.array(attribute.floats, dtype=np.float32)
    return found


def _figures(recorded: Package, made: Package) -> dict[str, tuple[float, float]]:
    """The figures that both have, by subject and metric; estimators that were not chosen are not fitted again."""
    ours, theirs = recorded.meta.evaluation, made.meta.evaluation
    return {
        f"{subject}/{metric}": (value, theirs[subject].get(metric, float("nan")))
        for subject, values in ours.items()
        if subject in theirs
        for metric, value in values.items()
    }
