"""The section `rollout`: by which stages a new version becomes champion, and what it has to show in each."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

from pydantic import Field, model_validator

from tallywright.spec.base import Section
from tallywright.spec.sections import CanaryLimits
from tallywright.spec.values import Number, Share, Whole
from tallywright.tasks import PrimaryMetric

SHADOW: Final = "shadow"
CANARY: Final = "canary"
CHAMPION: Final = "champion"
LEAST_DAYS: Final = 6
"""As many days as the evidence needs to have an interval (`gates.evidence.interval`)."""
_MOST_DAYS: Final = 3_650


class Stage(Section):
    """One stage: the version scores in shadow, or a share of the keys is its own."""

    stage: Literal["shadow", "canary"]
    share: Number | None = Field(default=None, gt=0, lt=1)
    """Of the keys, of a canary."""
    days: Whole = Field(ge=LEAST_DAYS, le=_MOST_DAYS)
    """So many days with mature labels end the stage."""
    margin: Share | None = None
    """The stage is left only by a version that is shown to be worse by less than this share of the champion's metric.
    Without it the version must not be shown to be worse."""

    @model_validator(mode="after")
    def _share_of_a_canary(self) -> Stage:
        if (self.stage == CANARY) != (self.share is not None):
            raise ValueError("give `share` exactly when `stage` is `canary`")
        return self


class Rollout(Section):
    """How a version that has passed its gates becomes champion."""

    mode: Literal["direct", "staged", "ab"] = "staged"
    """`direct`: at once, as without this section. `staged`: through the stages, while nothing shows that it is worse.
    `ab`: as `staged`, and the last stage is a test: the version becomes champion if it is shown to be better there."""
    stages: tuple[Stage, ...] = ()
    metric: PrimaryMetric | None = None
    """By what the version is held against the champion; without it, `gates.primary_metric`."""
    level: Number = Field(default=0.05, gt=0, lt=0.5)
    """The chance of each wrong end: that a version which is no worse is returned in any stage, and, in the mode `ab`,
    that one which is no better becomes champion."""
    max_loss: Share = 0.0
    """A version is returned when it is shown to be worse by more than this share of the champion's metric."""
    limits: CanaryLimits = CanaryLimits()
    """What a canary may do to a day. Beyond it the champion takes all rows of the day, and the version is returned."""
    approval: tuple[Literal["canary", "champion"], ...] = (CANARY, CHAMPION)
    """Before which stages a person is asked, where `registry.approval` is `person`."""

    @model_validator(mode="after")
    def _in_order(self) -> Rollout:
        if (self.mode == "direct") == bool(self.stages):
            raise ValueError("give `stages` exactly when `mode` is `staged` or `ab`")
        shares = [one.share or 0.0 for one in self.stages]
        if any(later < earlier or later == earlier > 0 for earlier, later in pairwise(shares)):
            raise ValueError("a stage takes more keys than the one before: `shadow` first, then growing shares")
        if self.mode == "ab" and self.stages[-1].stage != CANARY:
            raise ValueError("in the mode `ab` the last stage is a canary: its keys are B's")
        if self.mode == "ab" and self.stages[-1].margin is not None:
            raise ValueError("the last stage of the mode `ab` is a test of who is better, without a `margin`")
        return self

    @property
    def in_stages(self) -> bool:
        """False where a version is promoted at once."""
        return self.mode != "direct"
