"""Who may score beside the champion, and who may stand in for it: the spec's shadow, canary and fallback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tallywright.spec.base import Section
from tallywright.spec.values import Number, Share, Whole

CHALLENGER = "challenger"
PREVIOUS = "previous"
CONSTANT = "constant"

Version = Annotated[Whole, Field(ge=1, le=10**9)] | Literal["challenger"]
"""A registered version, or the newest one that is newer than all that were ever champion."""

Failure = Literal["package", "output", "prediction"]


class CanaryLimits(Section):
    """What a canary may do to a day; beyond it by its 95 % interval, the champion takes all rows before the commit."""

    max_problem_share: Share = 0.0
    """Of the canary's rows, those whose output breaks the output gate or cannot be computed; up to this share the
    champion takes these rows alone."""
    max_mean_difference: Number = Field(default=0.05, ge=0)
    """Between the mean scores of canary and champion on the same rows, in the score's own unit."""


class Canary(Section):
    """A share of the keys is scored by another version, and served."""

    model: Version
    share: Number = Field(gt=0, lt=1)
    """Of the keys, by a stable hash: a key stays where it is for as long as this version is tried, and a larger share
    only adds keys."""
    limits: CanaryLimits = CanaryLimits()


class Fallback(Section):
    """Who stands in for the champion, only in the failures named here; anything else fails the day."""

    model: Literal["previous", "constant"]
    """`previous`: the champion that a rollback would bring back. `constant`: the score declared in `constant`."""
    constant: Number | None = None
    """The score of such a row: the probability of a binary model, the value of a regression."""
    covers: tuple[Failure, ...] = Field(min_length=1)
    """`package`: the champion's package is missing, altered or cannot be loaded, for the whole day. `output`: rows
    whose output breaks the output gate. `prediction`: rows for which the model's graph raises an error."""
    max_share: Share = 0.05
    """Of a day's rows that may fall back by `output` or `prediction`; more than that is no exception, and fails."""

    @model_validator(mode="after")
    def _constant_where_needed(self) -> Fallback:
        if (self.model == CONSTANT) != (self.constant is not None):
            raise ValueError("give `constant` a number exactly when `model` is `constant`")
        return self
