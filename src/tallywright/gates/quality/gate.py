"""The quality gate: absolute bounds, the comparison with the champion, and slices, on the same held-out rows.

What cannot be computed is missing evidence, and missing evidence fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallywright.data.snapshot import last_period
from tallywright.errors import InputError, listed
from tallywright.gates.evidence.interval import MIN_DAYS
from tallywright.gates.evidence.level import AS_OF, Spent, level_of
from tallywright.gates.quality.bounds import absolute_checks
from tallywright.gates.quality.classes import class_checks
from tallywright.gates.quality.leaks import leak_checks
from tallywright.gates.quality.reliability import reliability_checks
from tallywright.gates.quality.scored_rows import score_rows
from tallywright.gates.quality.slices import slice_checks
from tallywright.gates.quality.superiority import champion_checks
from tallywright.labels import class_names
from tallywright.records import JUDGED_AGAINST, JUDGED_BY, NO_CHAMPION, QUALITY, Check, GateReport, Verdict
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import pyarrow as pa

    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec, Project

_NOTHING: Final = Spent()
_LOOK_AHEAD: Final = 800
"""Days, in which a window of a year passes twice."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A package and the labelled rows that it is judged on."""

    package: Package
    rows: pa.Table


def quality_gate(
    project: Project, judged: Sequence[Sample], champion: Package | None, *, as_of: date, spent: Spent = _NOTHING
) -> GateReport:
    """Evaluates a candidate on rows that it was not fitted on.

    Args:
        project: Whose bounds count.
        judged: The candidate and its holdout: `score_date`, feature columns and the target, every label known. Where it
            is judged again, also the version that was made of it, and later days on which that has scored in shadow.
        champion: The package in production; None for the first model, which needs the absolute checks alone.
        as_of: The business date of the training.
        spent: What other tries have spent of the year's level, and earlier looks of this one's.

    Returns:
        A report whose subject is the candidate's digest. The same packages, rows and tries give the same report.
    """
    spec, candidate = project.spec, judged[0].package
    checks = [*_judged_by_checks(spec, champion, as_of), *_model_checks(spec, judged[0], champion)]
    checks += [*_holdout_checks(spec, judged[0].rows), *leak_checks(spec, candidate, champion, judged[0].rows)]
    if all(check.verdict is not Verdict.FAIL for check in checks):
        checks += _judged(spec, champion, judged, as_of, spent)
    return GateReport(gate=QUALITY, model=spec.name, subject=candidate.digest, checks=tuple(checks))


def _judged(
    spec: ModelSpec, champion: Package | None, judged: Sequence[Sample], as_of: date, spent: Spent
) -> list[Check]:
    """The checks that need scores; a model that cannot score these rows fails the check `metrics`."""
    try:
        samples = [score_rows(spec, one.package, champion, one.rows) for one in judged]
        figures = [sample.figures(by_class=True) for sample in samples]
        absolute = [*absolute_checks(samples, figures), *reliability_checks(samples[0])]
    except (InputError, ValueError) as error:
        bound = "both models score every row, labels and scores in range"
        return [Check(name="metrics", verdict=Verdict.FAIL, bound=bound, evidence=str(error)[:500])]
    if champion is None:
        against = [Check.of("superiority", True, "no champion yet", "the absolute checks alone, for the first model")]
    else:
        level = level_of(as_of, spent.tries, spec.gates.yearly_level)
        against = champion_checks(samples, level, spent.looks, _enough_from(spec, champion.fitted_through, as_of))
    return [*absolute, *against, *class_checks(samples, figures[0]), *slice_checks(samples)]


def _judged_by_checks(spec: ModelSpec, champion: Package | None, as_of: date) -> list[Check]:
    """Records which champion and which settings the evidence is about; a promotion requires the same ones."""
    against = champion.digest if champion is not None else NO_CHAMPION
    settings = spec.gates.identity().current
    return [
        Check(name=JUDGED_AGAINST, verdict=Verdict.PASS, observed=against, bound="the champion when it is promoted"),
        Check(name=JUDGED_BY, verdict=Verdict.PASS, observed=settings, bound="the section gates by then"),
        Check(name=AS_OF, verdict=Verdict.PASS, observed=as_of.isoformat(), bound="the date of the training"),
    ]


def _model_checks(spec: ModelSpec, judged: Sample, champion: Package | None) -> list[Check]:
    """Checks that the candidate is of the spec's task, and that its outputs mean what the champion's mean."""
    task, candidate = spec.training.task, judged.package
    supported = candidate.meaning.task == task
    checks = [Check.of("task_supported", supported, candidate.meaning.task, f"{task}, the task of the spec")]
    if champion is None:
        return checks
    other = candidate.meaning.difference(champion.meaning)
    # A class that came or went is a matter of the data; the models are compared over the classes of both.
    classes_alone = not candidate.meaning.model_copy(update={"classes": champion.meaning.classes}).difference(
        champion.meaning
    )
    verdict = Verdict.PASS if not other else Verdict.WARN if classes_alone else Verdict.FAIL
    bound = "the champion's task, target, classes and unit"
    evidence = other + (_renamed(spec, judged, champion.meaning.classes) if verdict is Verdict.WARN else "")
    return [*checks, Check(name="means_what_the_champion_means", verdict=verdict, bound=bound, evidence=evidence)]


def _renamed(spec: ModelSpec, judged: Sample, classes: Sequence[str]) -> str:
    """Asks whether classes of the champion that no row has are those that only the candidate knows, by other names."""
    target = spec.training.target
    found = (
        set(class_names(judged.rows[target]).unique().to_pylist()) if target in judged.rows.column_names else {*classes}
    )
    gone = [name for name in classes if name not in found]
    new = [name for name in judged.package.meaning.classes if name not in classes]
    if not gone or not new:
        return ""
    return f"; no row has {listed(gone)}, and the champion does not know {listed(new)}: classes were renamed?"


def _holdout_checks(spec: ModelSpec, holdout: pa.Table) -> list[Check]:
    """Checks that the holdout is large enough and labelled."""
    least, target = spec.gates.min_holdout_rows, spec.training.target
    unlabelled = holdout[target].null_count if target in holdout.column_names else holdout.num_rows
    return [
        Check.of("holdout_rows", holdout.num_rows >= least, float(holdout.num_rows), f">= {least}"),
        Check.of("holdout_labels", unlabelled == 0, float(unlabelled), "0 rows without a label"),
    ]


def _enough_from(spec: ModelSpec, fitted_through: date, as_of: date) -> str:
    """The first as-of date whose holdout has enough days after the champion's last one, in words."""
    calendar = spec.schedule.calendar
    for days in range(1, _LOOK_AHEAD):
        later = as_of + timedelta(days=days)
        last = last_period(spec, later)
        first = calendar.first_of(last, spec.training.holdout)
        dates = {date_of(period) for period in calendar.open_between(first, last)}
        if len({day for day in dates if day > fitted_through}) >= MIN_DAYS:
            return f"the champion was fitted through {fitted_through}: the first as-of date with enough is {later}"
    unit = spec.training.holdout.unit
    return f"no holdout of training.holdout_{unit} {spec.training.holdout.length} has {MIN_DAYS} days: make it longer"
