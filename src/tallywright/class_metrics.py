"""The metrics of single classes: their names, and recall, precision and F1 from counts by class.

Counts add up, so those of all rows but one day's are a subtraction. What no row defines is NaN: the figures of a class
that no row has, and the precision of one that is never predicted. Means are over the classes that the rows have, each
of which counts alike, however few rows it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from tallywright.mlflow_names import encode
from tallywright.tasks import CLASS_METRICS, metric_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
MOST_CLASSES: Final = 50
"""Of a model with more of them no figures of single classes are kept: nobody would read so many."""
_MACRO: Final = {"macro_recall": "recall", "macro_f1": "f1"}


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Rows by class, [classes] or [days, classes]: those that have it, those predicted so, and those of both."""

    actual: Floats
    predicted: Floats
    hits: Floats

    @classmethod
    def of(cls, actual: Whole, predicted: Whole, classes: int) -> ClassCounts:
        """The counts of some rows; -1 is a class that the model does not know."""
        nowhere = np.zeros(len(actual), np.int64)
        by_day = cls.by_day(actual, predicted, nowhere, (1, classes))
        return cls(by_day.actual[0], by_day.predicted[0], by_day.hits[0])

    @classmethod
    def by_day(cls, actual: Whole, predicted: Whole, days: Whole, shape: tuple[int, int]) -> ClassCounts:
        """The counts of each day, of this many days and classes."""

        def counted(codes: Whole, chosen: npt.NDArray[np.bool_]) -> Floats:
            places = days[chosen] * shape[1] + codes[chosen]
            return np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)

        every = np.ones(len(actual), dtype=np.bool_)
        return cls(counted(actual, actual >= 0), counted(predicted, every), counted(actual, actual == predicted))

    def whole(self) -> ClassCounts:
        """Those of all days together."""
        return ClassCounts(self.actual.sum(axis=0), self.predicted.sum(axis=0), self.hits.sum(axis=0))

    def without_each_day(self) -> ClassCounts:
        """Those of all days but one, for each day."""
        whole = self.whole()
        return ClassCounts(whole.actual - self.actual, whole.predicted - self.predicted, whole.hits - self.hits)

    def value(self, metric: str, classes: Sequence[str], present: npt.NDArray[np.bool_]) -> Floats:
        """A metric that is made of counts: of a class, or the mean over the classes of `present`.

        Raises:
            KeyError: It is none, or its class is none of these.
        """
        if metric in _MACRO:
            found = self._by_class(_MACRO[metric])[..., present]
            return np.asarray(found.mean(axis=-1) if found.shape[-1] else np.full(found.shape[:-1], np.nan))
        return np.asarray(self._by_class(kind_of(metric))[..., place_of(metric, classes)])

    def rows_of(self, metric: str, classes: Sequence[str]) -> float:
        """How many rows have the class that a metric is about."""
        return float(self.actual[place_of(metric, classes)])

    def rows_of_share(self, metric: str, classes: Sequence[str]) -> float | None:
        """Of how many rows a metric of a class is a share; None where it is none."""
        counted = {"recall": self.actual, "precision": self.predicted}.get(kind_of(metric))
        return None if counted is None else float(counted[place_of(metric, classes)])

    def _by_class(self, kind: str) -> Floats:
        """NaN where nothing is divided by: a class without a row, or one that is never predicted."""
        some = np.where(self.actual > 0, self.actual, np.nan)
        if kind == "recall":
            return np.asarray(self.hits / some)
        if kind == "precision":
            return np.asarray(self.hits / np.where((self.actual > 0) & (self.predicted > 0), self.predicted, np.nan))
        return np.asarray(2 * self.hits / (some + self.predicted))


def kind_of(metric: str) -> str:
    """Which of the metrics of a class it is."""
    return metric.partition("_")[0]


def place_of(metric: str, classes: Sequence[str]) -> int:
    """The place among these classes of the one that a metric is about.

    Raises:
        KeyError: It is about none of them.
    """
    return _places(tuple(classes))[metric_of(metric).of_class]


@lru_cache(maxsize=16)
def _places(classes: tuple[str, ...]) -> dict[str, int]:
    return {encode(name): place for place, name in enumerate(classes)}


def names_of_class_metrics(classes: Sequence[str]) -> list[str]:
    """The metrics of each of these classes; none of a model that has too many of them."""
    if len(classes) > MOST_CLASSES:
        return []
    return [f"{kind}_{encode(name)}" for name in classes for kind in CLASS_METRICS]
