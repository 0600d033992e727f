"""A search space as Optuna draws from it, and what was drawn as the values of parameters."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tallywright.spec.tuning import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.distributions import BaseDistribution

    from tallywright.spec.tuning import SearchedParameter

Drawn = dict[str, int | float]
"""Parameters by name: a number, or the place of a choice."""


def distributions_of(space: Mapping[str, SearchedParameter], kind: str) -> dict[str, BaseDistribution]:
    """What Optuna draws from, by the names of the parameters.

    Args:
        space: As in the spec.
        kind: Of the estimator, which says what is a whole number.
    """
    known = PARAMETERS.get(kind, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an end that no step leads to: the last step below it is meant
        return {
            name: _distribution(parameter, whole=known.get(name) == "whole" or (name not in known and parameter.whole))
            for name, parameter in space.items()
        }


def _distribution(parameter: SearchedParameter, *, whole: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices:
        # By their places: a list is nothing that Optuna takes.
        return CategoricalDistribution(range(len(parameter.choices)))
    if whole:
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def values_of(space: Mapping[str, SearchedParameter], drawn: Drawn) -> dict[str, Any]:
    """The values of the parameters that were drawn."""
    return {name: space[name].choices[int(value)] if space[name].choices else value for name, value in drawn.items()}
