"""The comparison with the champion: better by the primary metric, and not worse by the guards.

A gain is shown when its lower bound is above `gates.min_gain`, at the level that this try has of the year's. Shown to
be worse is refused; neither is undecided: days to come can tell. In the mode `refresh` a candidate need not be better,
it must be shown to be worse by less than `gates.margin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallywright.gates.evidence.interval import MIN_DAYS
from tallywright.gates.evidence.level import LEVEL, LOOK, level_of_look
from tallywright.gates.quality.scored_rows import gain_of
from tallywright.records import Check, Verdict
from tallywright.tasks import EXPECTED_COST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.gates.evidence.level import Level
    from tallywright.gates.quality.scored_rows import ScoredRows

ERROR: Final = "error_of_gain_"
CHAMPION: Final = "champion_"
"""The checks that name the standard error of the primary metric's gain, and the champion's metric, for the plan of the
next comparison."""
GUARD_MARGIN: Final = 0.01
"""A guard metric counts as not worse when it is worse by less than this share of the champion's."""


def champion_checks(samples: Sequence[ScoredRows], level: Level, looks: Sequence[float], enough: str) -> list[Check]:
    """The checks of a candidate against the champion.

    Args:
        samples: Rows with the scores of both.
        level: Of this try; counts in the mode `superiority` alone.
        looks: What earlier looks at this candidate have spent of it.
        enough: The first as-of date that has enough days, in words; for the case that these are too few.
    """
    spec = samples[0].spec
    gates, kind = spec.gates, spec.training.kind
    days = max(sample.pair_days for sample in samples)
    few = days < MIN_DAYS
    checks = [
        Check(
            name="pair_days",
            verdict=Verdict.UNDECIDED if few else Verdict.PASS,
            observed=float(days),
            bound=f">= {MIN_DAYS} days of labelled rows after both models were fitted",
            evidence=enough if few else "",
        )
    ]
    if few:
        return checks
    primary = gates.primary_metric
    if gates.mode == "refresh":
        checks.append(_not_worse(primary, samples, gates.margin, guards=False))
    else:
        checks += _better(primary, samples, level, looks)
    costs = (EXPECTED_COST,) if gates.costs is not None else ()
    guards = [metric for metric in (*kind.guards, *costs) if metric != primary]
    return [*checks, *(_not_worse(metric, samples, GUARD_MARGIN, guards=True) for metric in guards)]


def _better(metric: str, samples: Sequence[ScoredRows], level: Level, looks: Sequence[float]) -> list[Check]:
    spent = f"{level.tries} other tries within 365 days spent {level.spent:.3g}"
    of_try = Check(
        name=LEVEL,
        verdict=Verdict.PASS if level.level else Verdict.FAIL,
        observed=level.level,
        bound=f"a share of the {level.yearly:g} of 365 days (gates.yearly_level)",
        evidence=spent if level.level else f"{spent}; the next as-of date with a level is {level.free_from}",
    )
    if not level.level:
        return [of_try]
    # The holdout comes first, what the gate has planned besides are days in shadow.
    days = sum(sample.pair_days for sample in samples)
    planned = samples[0].pair_days + samples[0].spec.planned_shadow_days
    of_look = level_of_look(level, looks, days, planned)
    told = f"{days} of {planned} days; {len(looks)} looks before spent {sum(looks):.3g}"
    look = Check(
        name=LOOK,
        verdict=Verdict.PASS if of_look else Verdict.UNDECIDED,
        observed=of_look,
        bound="a share of the level of the try, by days (gates.shadow_days)",
        evidence=told if of_look else f"{told}: no day is new, or all that were planned have been looked at",
    )
    return [of_try, look, *(_superiority(metric, samples, of_look) if of_look else [])]


def _superiority(metric: str, samples: Sequence[ScoredRows], level: float) -> list[Check]:
    least = samples[0].spec.gates.min_gain
    name = f"superiority_{metric}"
    unit = samples[0].spec.unit_of(metric)
    bound = f"lower bound > {least:g}{' ' * bool(unit)}{unit}; refused when the upper bound < 0"
    gain = gain_of(samples, metric)
    if gain is None:
        return [_no_evidence(name, bound)]
    lower, upper = gain.estimate.lower(level), gain.estimate.upper(level)
    if all(sample.same_scores for sample in samples):
        evidence = f"both models give every row the same score, so neither can be better; {gain.told(level)}"
        return [Check(name=name, verdict=Verdict.FAIL, observed=lower, bound=bound, evidence=evidence)]
    verdict = Verdict.PASS if lower > least else Verdict.FAIL if upper < 0 else Verdict.UNDECIDED
    error = Check(
        name=ERROR + metric,
        verdict=Verdict.PASS,
        observed=gain.estimate.error,
        bound="reported",
        evidence=f"standard error of the gain, from {gain.estimate.days} days",
    )
    champion = Check(name=CHAMPION + metric, verdict=Verdict.PASS, observed=gain.champion, bound="reported")
    found = Check(name=name, verdict=verdict, observed=lower, bound=bound, evidence=gain.told(level))
    return [found, error, champion]


def _not_worse(metric: str, samples: Sequence[ScoredRows], share: float, *, guards: bool) -> Check:
    """Passes when shown to be worse by less than a share of the champion's metric, fails when shown to be worse.

    A guard that looks no worse warns where the days are too few to show it: what a promotion is for is shown by the
    primary metric.
    """
    name, level = f"not_worse_{metric}", 1 - samples[0].spec.gates.confidence
    gain = gain_of(samples, metric)
    if gain is None:
        return _no_evidence(name, "a gain that can be computed")
    margin, estimate = -share * abs(gain.champion), gain.estimate
    if estimate.lower(level) > margin:
        verdict = Verdict.PASS
    elif estimate.upper(level) < 0:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.WARN if guards and estimate.value >= 0 else Verdict.UNDECIDED
    return Check(
        name=name,
        verdict=verdict,
        observed=estimate.lower(level),
        bound=f"lower bound > {margin:.5f}; refused when the upper bound < 0",
        evidence=gain.told(level),
    )


def _no_evidence(name: str, bound: str) -> Check:
    return Check(name=name, verdict=Verdict.FAIL, bound=bound, evidence="cannot be computed on these rows")
