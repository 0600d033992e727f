"""The gate of a refit: the recipe that was judged, fitted again on more rows, must still be close to what was judged.

What the holdout has shown is about the recipe. A fit that went wrong (a diverged network, a broken column in the last
days) is no longer that recipe, and shows in scores far from those that were judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tallywright.errors import InputError
from tallywright.gates.quality.scored_rows import score_rows
from tallywright.records import JUDGED_PACKAGE, REFIT, Check, GateReport, Verdict
from tallywright.tasks import metric_of

if TYPE_CHECKING:
    import pyarrow as pa

    from tallywright.gates.quality.scored_rows import ScoredRows
    from tallywright.packaging.package import Package
    from tallywright.spec import Project

_MOST_DIFFERENCE: Final = 0.75
"""Of the standard deviation of both packages' scores, the root of their mean variance: whoever learns from more rows
may spread its scores more. Two fits of one recipe on four months of flights differ by 0.23; scores that have nothing to
do with one another by 1.4, as does a constant."""
_MOST_LOSS: Final = 0.05
"""Of the judged package's metric, on rows that the refit was fitted on and the judged one was not."""


def refit_gate(project: Project, *, judged: Package, refit: Package, holdout: pa.Table) -> GateReport:
    """Compares a refit with the package that was judged, on the rows on which that was.

    Args:
        project: Whose primary metric counts.
        judged: The package that the quality gate has judged.
        refit: The same recipe, fitted on all rows.
        holdout: The rows of that judgement, with known labels.

    Returns:
        A report whose subject is the refit's digest.
    """
    named = Check(
        name=JUDGED_PACKAGE,
        verdict=Verdict.PASS if refit.meta.judged == judged.digest else Verdict.FAIL,
        observed=judged.digest,
        bound="the package that the refit names",
    )
    different = refit.meaning.difference(judged.meaning)
    meaning = Check.of("means_what_was_judged", not different, None, "the same task, target, classes, unit", different)
    checks = [named, meaning]
    if not different:
        checks += _closeness(project, judged, refit, holdout)
    return GateReport(gate=REFIT, model=project.spec.name, subject=refit.digest, checks=tuple(checks))


def without_refit(project: Project, judged: Package, why: str) -> GateReport:
    """The report about a judged package whose recipe could not be fitted again: it is refused, and so the version.

    Args:
        project: Whose model it is.
        judged: The package that the quality gate has judged.
        why: What ended the fit.
    """
    bound = "the judged recipe is fitted on all rows, and scores as its library does"
    check = Check(name="fitted", verdict=Verdict.FAIL, bound=bound, evidence=why[:500])
    return GateReport(gate=REFIT, model=project.spec.name, subject=judged.digest, checks=(check,))


def _closeness(project: Project, judged: Package, refit: Package, holdout: pa.Table) -> list[Check]:
    try:
        after, before = (score_rows(project.spec, package, None, holdout) for package in (refit, judged))
        return [_close(after, before), _learnt(after, before, project.spec.gates.primary_metric)]
    except (InputError, ValueError) as error:
        bound = "both score every row, labels and scores in range"
        return [Check(name="close_to_what_was_judged", verdict=Verdict.FAIL, bound=bound, evidence=str(error)[:500])]


def _close(after: ScoredRows, before: ScoredRows) -> Check:
    scores, judged = after.candidate.values, before.candidate.values
    difference = float(np.sqrt(np.mean((scores - judged) ** 2)))
    most = _MOST_DIFFERENCE * float(np.sqrt((judged.var() + scores.var()) / 2))
    return Check.of(
        "close_to_what_was_judged",
        difference <= most,
        difference,
        f"<= {most:.5g}, {_MOST_DIFFERENCE:g} of the standard deviation of both packages' scores",
        f"root mean square difference of {len(scores)} rows' scores",
    )


def _learnt(after: ScoredRows, before: ScoredRows, metric: str) -> Check:
    """On rows that it was fitted on, a refit that is worse than one that was not has not learnt."""
    found, known = (scored.figures().get(metric) for scored in (after, before))
    name, bound = f"learnt_{metric}", f"not worse than the judged package by more than {_MOST_LOSS:.0%}, on its holdout"
    if found is None or known is None:
        return Check(name=name, verdict=Verdict.FAIL, bound=bound, evidence="cannot be computed on these rows")
    goodness = metric_of(metric).goodness
    gain = goodness(found) - goodness(known)
    return Check.of(name, gain >= -_MOST_LOSS * abs(known), found, bound, f"the judged package {known:.5f}")
