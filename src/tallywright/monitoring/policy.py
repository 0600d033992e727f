"""The retraining policy: a pure fold over the days' signals, one decision a day.

The same signals always give the same decisions, and a decision never looks at a later day, so history can be folded
again after a restatement, and another policy can be tried on it. A distance violates when it is above the threshold
(effect) AND would seldom be so large if the true distance were at the threshold (evidence: a small day exceeds a fixed
threshold by sampling noise alone). The formulas are written out here, so that monitoring needs no scipy.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tallywright.errors import UsageError
from tallywright.records import DayState, PeriodRecord, RetrainDecision, digest_of
from tallywright.spec.calendar import EVERY_DAY, Calendar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.spec.base import Identity
    from tallywright.spec.sections import Retraining

DAILY_FALSE_ALARM_RATE: Final = 0.05
"""With every true distance at its threshold, at most this share of days has a violation (see `improbable`)."""
NOT_JUDGED: Final = "not_judged: "
"""Begins a reason that says what could not be judged."""
CLOSED_DAY: Final = "closed_day"
BROKEN_DAY: Final = "broken_day"
PART_OF_A_DAY: Final = "part_of_a_day"
NO_EVIDENCE: Final = (CLOSED_DAY, BROKEN_DAY, PART_OF_A_DAY)
"""Each begins the first reason of a day that was not judged at all."""
JS_PER_PSI: Final = 8 * math.log(2)
"""Near no change the JS divergence in bits is PSI over this.

To second order in the difference d of two distributions near p, every f-divergence is a multiple of sum(d**2 / p)
(Csiszar and Shields, "Information theory and statistics: a tutorial", 2004, theorem 4.1): PSI is that sum, and the JS
divergence in nats is an eighth of it; ln 2 turns nats into bits."""


def noncentral_chi2_sf(value: float, freedom: float, noncentrality: float = 0.0) -> float:
    """The probability that a noncentral chi-square variable exceeds `value`.

    Sankaran's power transform to a normal variable (Biometrika 50, 1963, pp. 199-204; also Johnson, Kotz and
    Balakrishnan, Continuous Univariate Distributions 2, section 29.8). Without noncentrality it is the cube root of
    Wilson and Hilferty. Against printed tables the tail of 0.001 comes out as 0.00104 at 19 degrees of freedom and as
    0.00113 at 3: it is conservative.
    """
    if value <= 0:
        return 1.0
    k, shift = freedom, noncentrality
    h = 1 - 2 * (k + shift) * (k + 3 * shift) / (3 * (k + 2 * shift) ** 2)
    p = (k + 2 * shift) / (k + shift) ** 2
    m = (h - 1) * (1 - 3 * h)
    mean = 1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p)
    deviation = h * math.sqrt(2 * p) * (1 + 0.5 * m * p)
    return _normal_sf(((value / (k + shift)) ** h - mean) / deviation)


def psi_p_value(value: float, threshold: float, rows: tuple[int, int], cells: int) -> float:
    """The probability of a PSI of `value` or more when the true one is `threshold`.

    With no change PSI follows (1/n_reference + 1/n_current) * chi2(cells - 1) (Yurdakul and Naranjo, "Statistical
    properties of the population stability index", Journal of Risk Model Validation 14, 2020). PSI is then a quadratic
    form in asymptotically normal shares, so a true PSI makes it noncentral: by that PSI over the same factor.

    Args:
        value: The PSI found.
        threshold: The PSI that is tolerated.
        rows: Rows of the reference, rows of the day.
        cells: Cells compared.
    """
    if min(rows) <= 0 or cells <= 1:
        return 1.0
    noise = 1 / rows[0] + 1 / rows[1]
    return noncentral_chi2_sf(value / noise, cells - 1, threshold / noise)


def js_p_value(value: float, threshold: float, rows: tuple[int, int], cells: int) -> float:
    """As `psi_p_value`, for a Jensen-Shannon distance (base 2), whose square is the divergence."""
    return psi_p_value(JS_PER_PSI * value**2, JS_PER_PSI * threshold**2, rows, cells)


def share_p_value(count: int, rows: int, tolerated: float) -> float:
    """A bound on the probability of `count` or more of `rows` when the true share is `tolerated`.

    The Chernoff-Hoeffding bound exp(-n KL(share, tolerated)) (Hoeffding, "Probability inequalities for sums of bounded
    random variables", JASA 58, 1963, theorem 1): it holds at every n, also for the rare values where a normal
    approximation fails, and is conservative. The reference has many more rows than a day; its share is taken as exact.
    """
    if rows <= 0:
        return 1.0
    share = count / rows
    if share <= tolerated or tolerated >= 1:
        return 1.0
    if tolerated <= 0:
        return 0.0
    distance = share * math.log(share / tolerated)
    if share < 1:
        distance += (1 - share) * math.log((1 - share) / (1 - tolerated))
    return math.exp(-rows * distance)


def improbable(p_values: Sequence[float], rate: float = DAILY_FALSE_ALARM_RATE) -> list[bool]:
    """Selects the p-values that are significant together, by the rule of Benjamini and Hochberg at `rate`.

    "Controlling the false discovery rate", JRSS B 57, 1995. A day has dozens of comparisons: at a fixed level each,
    some would be significant every day. Where none is true, the rate is the probability of any false one that day.
    """
    ranked = sorted(p_values)
    limit = max((p for rank, p in enumerate(ranked, start=1) if p <= rate * rank / len(ranked)), default=-1.0)
    return [p <= limit for p in p_values]


def _normal_sf(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def state_word(state: str, reasons: Sequence[str]) -> str:
    """The word for what was decided of a day: why it was not judged, else the state of the policy.

    The stored state is that of the fold, which a day without evidence leaves as it was. Read alone it would say `ok` of
    a day that nobody looked at.
    """
    code = reasons[0].partition(":")[0] if reasons else ""
    return code if code in NO_EVIDENCE else str(state)


class DaySignals(PeriodRecord):
    """The signals of one day, as the policy sees them.

    `broken` says why the day's data cannot be used (not scored, day gate failed), `closed` which rule of the calendar
    closes the day; both are empty for a sound day. An hour is `partial` when its local date, which is the unit of
    evidence, is not over with it. `drifted` are the columns that violate. `performance` are the violated bounds of
    realised metrics that became known on this day: labels arrive late, so they are about an earlier score date, which
    the text names. `unjudged` says what could not be
    judged for want of rows, labels or reference days. What became of a decision to retrain on this day is known only
    later, and is a signal for later days: `acted` is False when nobody acted on it (as in a backfill), `outcome` is
    empty while the training runs, else how it ended.
    """

    model: str
    score_date: date
    model_version: int = 0
    broken: str = ""
    drifted: tuple[str, ...] = ()
    performance: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    closed: str = ""
    partial: bool = False
    acted: bool = True
    outcome: str = ""

    @property
    def sound(self) -> bool:
        """True when the day is evidence; a closed day is none by nature, a broken one by accident."""
        return not self.broken and not self.closed and not self.partial

    def told(self) -> dict[str, object]:
        """The signals of the day's own decision; without those that are empty and that older decisions did not know."""
        newer = {name for name in ("unjudged", "closed", "partial") if not getattr(self, name)}
        return self.model_dump(mode="json", exclude={"acted", "outcome"} | newer)

    def violates(self, policy: Retraining) -> bool:
        """True when the day counts towards retraining; a broken or closed day never does."""
        if not self.sound:
            return False
        return len(self.drifted) >= policy.min_violated_columns or bool(self.performance)


@dataclass(frozen=True, slots=True)
class _FoldState:
    """The state of the fold: the evaluated days since the last decision to retrain, and the day of that decision.

    `cooled` is the last period of the cooldown after it.
    """

    calendar: Calendar
    windows: tuple[DaySignals, ...] = ()
    retrained: DaySignals | None = None
    cooled: date | None = None

    def is_cooling(self, period: date) -> bool:
        """True when a decision to retrain may not come again yet."""
        return self.cooled is not None and period <= self.cooled


def fold(days: Sequence[DaySignals], policy: Retraining, calendar: Calendar = EVERY_DAY) -> list[RetrainDecision]:
    """The decision of each day, in order.

    A day is evidence only when it is sound, later than the last decision to retrain, and scored by the model of the
    day that is decided: drift and quality of another champion are no evidence about this one. Retraining needs
    `num_violation_windows` violations in the last `num_evaluation_windows` such days, and never comes again in the
    cooldown after a decision that was acted upon. One that nobody acted on starts nothing: the days after it are
    judged as if it had not been made.

    Args:
        days: Strictly increasing by date, gaps allowed, all of one model.
        policy: The spec's section.
        calendar: The periods of the model.

    Raises:
        UsageError: The days are not strictly increasing.
    """
    for earlier, later in pairwise(days):
        if later.score_date <= earlier.score_date:
            raise UsageError(
                f"signals of {later.score_date} follow those of {earlier.score_date}",
                expected="one entry a day, in the order of the days",
            )
    return list(_decisions(days, policy, calendar))


def _decisions(days: Sequence[DaySignals], policy: Retraining, calendar: Calendar) -> Iterator[RetrainDecision]:
    fold_state = _FoldState(calendar)
    identity = policy.identity()
    for day in days:
        if day.sound:
            same_model = tuple(past for past in fold_state.windows if past.model_version == day.model_version)
            windows = (*same_model, day)[-policy.num_evaluation_windows :]
            fold_state = replace(fold_state, windows=windows)
        decision = _decide(day, fold_state, policy, identity)
        yield decision
        if decision.retrain and day.acted:
            fold_state = _FoldState(calendar, retrained=day, cooled=calendar.after(day.score_date, policy.cooldown))


def _decide(day: DaySignals, fold_state: _FoldState, policy: Retraining, identity: Identity) -> RetrainDecision:
    violations = [past for past in fold_state.windows if past.violates(policy)]
    state = _state(day, fold_state, policy, len(violations))
    retrain = state is DayState.CONFIRMED and day.sound
    reasons = tuple(_reasons(day, fold_state, policy, violations))
    signals = json.dumps(
        {
            "day": day.told(),
            "evaluated": [str(past.score_date) for past in fold_state.windows],
            "violations": [str(past.score_date) for past in violations],
            "last_retraining": str(fold_state.retrained.score_date) if fold_state.retrained else None,
            **_outcome(fold_state.retrained),
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


def _outcome(retrained: DaySignals | None) -> dict[str, str]:
    """How the last training ended; nothing where it runs, so that decisions of before keep their identity."""
    return {"outcome": retrained.outcome} if retrained is not None and retrained.outcome else {}


def _state(day: DaySignals, fold_state: _FoldState, policy: Retraining, violations: int) -> DayState:
    past = fold_state.retrained
    if past is not None and fold_state.is_cooling(day.score_date):
        scored_by_a_new_model = day.sound and day.model_version != past.model_version
        return DayState.COOLDOWN if scored_by_a_new_model or past.outcome else DayState.RETRAINING
    if violations >= policy.num_violation_windows:
        return DayState.CONFIRMED
    if violations:
        return DayState.SUSPECTED
    return DayState.NOT_JUDGED if day.unjudged and day.sound else DayState.OK


def _reasons(
    day: DaySignals, fold_state: _FoldState, policy: Retraining, violations: Sequence[DaySignals]
) -> Iterator[str]:
    """Reason codes with their detail, as `code: detail`; none on a quiet day of which everything could be judged."""
    if day.closed:
        yield f"{CLOSED_DAY}: {day.closed}; nothing is expected of it"
    elif day.broken:
        yield f"{BROKEN_DAY}: {day.broken}; neither a violation nor evidence"
    elif day.partial:
        yield f"{PART_OF_A_DAY}: judged with the last hour of its date"
    elif day.violates(policy):
        yield from (f"performance: {text}" for text in day.performance)
    yield from (f"{NOT_JUDGED}{text}" for text in day.unjudged)
    if day.drifted and day.sound:
        enough = (
            "" if len(day.drifted) >= policy.min_violated_columns else f" (fewer than {policy.min_violated_columns})"
        )
        yield f"drift: {len(day.drifted)} columns{enough}: {', '.join(day.drifted)}"
    if violations:
        dates, unit = ", ".join(str(past.score_date) for past in violations), fold_state.calendar.unit
        yield (
            f"violations: {len(violations)} of the last {len(fold_state.windows)} evaluated {unit}s ({dates});"
            f" {policy.num_violation_windows} of {policy.num_evaluation_windows} retrain"
        )
    if fold_state.retrained is not None and fold_state.cooled is not None and fold_state.is_cooling(day.score_date):
        again = fold_state.calendar.next(fold_state.cooled)
        yield f"cooldown: retraining decided on {fold_state.retrained.score_date}, none before {again}"
        if fold_state.retrained.outcome:
            yield f"training: {fold_state.retrained.outcome}"
