"""When to retrain: a pure fold over the days' signals, one decision a day.

The same signals always give the same decisions, and a decision never looks at a later day, so history can be folded
again after a restatement, and another policy can be tried on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from tallywright.errors import UsageError
from tallywright.records import DayState, Record, RetrainDecision, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.spec.identity import Identity
    from tallywright.spec.model import Retraining


class DaySignals(Record):
    """All that the policy knows of one day.

    `broken` says why the day's data cannot be used (not scored, day gate failed); empty for a sound day. `drifted` are
    the columns that violate. `performance` are the violated bounds of realised metrics that became known on this day:
    labels arrive late, so they are about an earlier score date, which the text names.
    """

    model: str
    score_date: date
    model_version: int = 0
    broken: str = ""
    drifted: tuple[str, ...] = ()
    performance: tuple[str, ...] = ()

    def violates(self, policy: Retraining) -> bool:
        """True when the day counts towards retraining; a broken day never does."""
        if self.broken:
            return False
        return len(self.drifted) >= policy.min_violated_columns or bool(self.performance)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the fold carries from day to day: the evaluated days since the last retraining, and that retraining."""

    windows: tuple[DaySignals, ...] = ()
    retrained: DaySignals | None = None


def fold(days: Sequence[DaySignals], policy: Retraining) -> list[RetrainDecision]:
    """The decision of each day, in order.

    A day is evidence only when it is sound, later than the last decision to retrain, and scored by the model of the
    day that is decided: what an older champion met says nothing of this one. Retraining needs
    `num_violation_windows` violations in the last `num_evaluation_windows` such days, and never comes again in the
    `cooldown_days` after it.

    Args:
        days: Strictly increasing by date, gaps allowed, all of one model.
        policy: The spec's section.

    Raises:
        UsageError: The days are not strictly increasing.
    """
    for earlier, later in pairwise(days):
        if later.score_date <= earlier.score_date:
            raise UsageError(
                f"signals of {later.score_date} follow those of {earlier.score_date}",
                expected="one entry a day, in the order of the days",
            )
    return list(_decisions(days, policy))


def _decisions(days: Sequence[DaySignals], policy: Retraining) -> Iterator[RetrainDecision]:
    memory = _Memory()
    identity = policy.identity()
    for day in days:
        if not day.broken:
            same_model = tuple(past for past in memory.windows if past.model_version == day.model_version)
            windows = (*same_model, day)[-policy.num_evaluation_windows :]
            memory = _Memory(windows=windows, retrained=memory.retrained)
        decision = _decide(day, memory, policy, identity)
        yield decision
        if decision.retrain:
            memory = _Memory(windows=(), retrained=day)


def _decide(day: DaySignals, memory: _Memory, policy: Retraining, identity: Identity) -> RetrainDecision:
    violations = [past for past in memory.windows if past.violates(policy)]
    state = _state(day, memory, policy, len(violations))
    retrain = state is DayState.CONFIRMED and not day.broken
    reasons = tuple(_reasons(day, memory, policy, violations))
    signals = json.dumps(
        {
            "day": day.model_dump(mode="json"),
            "evaluated": [str(past.score_date) for past in memory.windows],
            "violations": [str(past.score_date) for past in violations],
            "last_retraining": str(memory.retrained.score_date) if memory.retrained else None,
        },
        sort_keys=True,
    )
    return RetrainDecision(
        model=day.model,
        score_date=day.score_date,
        state=state,
        retrain=retrain,
        reasons=reasons,
        signals_json=signals,
        policy_digest=identity.current,
        # Rows of before have the id of form 0: the same decision keeps its name, and is not written again.
        decision_id=digest_of([day.model, str(day.score_date), state, retrain, reasons, signals, identity.oldest]),
    )


def _state(day: DaySignals, memory: _Memory, policy: Retraining, violations: int) -> DayState:
    past = memory.retrained
    if past is not None and day.score_date <= past.score_date + timedelta(days=policy.cooldown_days):
        scored_by_a_new_model = not day.broken and day.model_version != past.model_version
        return DayState.COOLDOWN if scored_by_a_new_model else DayState.RETRAINING
    if violations >= policy.num_violation_windows:
        return DayState.CONFIRMED
    return DayState.SUSPECTED if violations else DayState.OK


def _reasons(day: DaySignals, memory: _Memory, policy: Retraining, violations: Sequence[DaySignals]) -> Iterator[str]:
    """Reason codes with their detail, as `code: detail`; none on a quiet day."""
    if day.broken:
        yield f"broken_day: {day.broken}; neither a violation nor evidence"
    elif day.violates(policy):
        yield from (f"performance: {text}" for text in day.performance)
    if day.drifted and not day.broken:
        enough = (
            "" if len(day.drifted) >= policy.min_violated_columns else f" (fewer than {policy.min_violated_columns})"
        )
        yield f"drift: {len(day.drifted)} columns{enough}: {', '.join(day.drifted)}"
    if violations:
        dates = ", ".join(str(past.score_date) for past in violations)
        yield (
            f"violations: {len(violations)} of the last {len(memory.windows)} evaluated days ({dates});"
            f" {policy.num_violation_windows} of {policy.num_evaluation_windows} retrain"
        )
    if memory.retrained is not None:
        until = memory.retrained.score_date + timedelta(days=policy.cooldown_days)
        if day.score_date <= until:
            again = until + timedelta(days=1)
            yield f"cooldown: retraining decided on {memory.retrained.score_date}, none before {again}"
