"""Drift: compares a day's profile with the training reference in the package; the rows of `<model>__drift`.

Per feature column and for the score: PSI and Jensen-Shannon distance of the cells, and by how much the null share and
the share of unseen categories exceed the reference's. A violation is above its threshold, improbable if the true value
were at the threshold (for independent rows), and above what the reference's own days reached: rows of one day are
correlated, there as here, and the p-value does not know by how much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.generation import unless_scored_again
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import PackageError
from tallywright.monitoring.policy import improbable, js_p_value, psi_p_value, share_p_value
from tallywright.profiles.comparison import SHAPES, Side, distances
from tallywright.profiles.profile import SCORE
from tallywright.records import DriftSignal, PeriodRecord, Role
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.profiles.comparison import ReferenceDays
    from tallywright.profiles.profile import Profile
    from tallywright.records import Manifest, ModelRef
    from tallywright.spec.calendar import Calendar
    from tallywright.spec.model import ModelSpec
    from tallywright.spec.sections import Monitoring

BASELINE: Final = "training"
VARIANTS: Final = {
    "psi": "psi.reference_quantiles.floor1e-4",
    "js": "js.reference_quantiles.distance.base2",
    "null_share": "null_share.minus_reference",
    "unseen_share": "unseen_share.minus_reference",
}
"""The variant of each metric, as `profiles.comparison` documents it: other tools compute other numbers."""


class DriftRow(PeriodRecord):
    """One row of `<model>__drift`; named after the drift metrics table of Databricks' monitors, where that has a name.

    Rows of the time before `reference_bound` have none.
    """

    score_date: date
    window_start: date
    window_end: date
    granularity: str
    model_name: str
    model_id: str
    model_version: int
    slice_key: str | None
    slice_value: str | None
    column_name: str
    drift_type: str
    baseline: str
    metric: str
    variant: str
    value: float
    threshold: float
    p_value: float
    violated: bool
    rows: int
    reference_rows: int
    generation: int
    definition_digest: str
    reference_bound: float | None = None
    not_judged: str | None = None
    """Why nothing can violate, with the count and the limit; empty where the day was judged, None in rows of before."""


DRIFT: Final = Declaration(
    what="drift",
    record=DriftRow,
    key=("score_date", "column_name", "metric"),
    slice=("score_date",),
    kind=Kind.SLICE,
    doc="each day's profile against the champion's training reference, a row a column and metric",
)


class DriftComparison(DriftSignal):
    """A drift signal with the variant of its metric, its numbers of rows and its p-value.

    `reference_bound` is what the days of the reference reached; None where the package has no such days.
    """

    variant: str
    p_value: float
    rows: int
    reference_rows: int
    definition_digest: str
    reference_bound: float | None = None
    not_judged: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One distance of one column; `rows` are those of the reference and of the day."""

    column: str
    metric: str
    value: float
    threshold: float
    bound: float | None
    p_value: float
    rows: tuple[int, int]
    violated: bool = False

    @property
    def exceeds(self) -> bool:
        """True above the threshold and above the days of the reference."""
        return self.value > self.threshold and (self.bound is None or self.value > self.bound)


def compare_day(spec: ModelSpec, package: Package, manifest: Manifest, profile: Profile) -> list[DriftComparison]:
    """Compares the profile of a tally with the reference of the champion that scored it.

    The unit of evidence is a day: an hour is compared together with those of its date before it, and only the last one
    of the date is judged, by all of them.

    Args:
        spec: Thresholds and the least number of rows.
        package: The champion's.
        manifest: The tally's.
        profile: The tally's, for the champion; of an hour, that of its date up to it.

    Raises:
        PackageError: The package is not the champion's, or the profile was counted by another definition.
    """
    champion = _champion(manifest)
    _check_same_definition(package, champion, profile)
    reason = not_judged(package.reference_days, profile.rows, spec.monitoring)
    if not spec.schedule.calendar.ends_its_date(manifest.score_date):
        reason = f"{date_of(manifest.score_date)} is judged with its last hour"
    return [
        DriftComparison(
            model=manifest.model,
            model_version=champion.version,
            score_date=manifest.score_date,
            column=one.column,
            baseline=BASELINE,
            metric=one.metric,
            variant=VARIANTS[one.metric],
            value=one.value,
            threshold=one.threshold,
            p_value=one.p_value,
            violated=one.violated and not reason,
            rows=one.rows[1],
            reference_rows=one.rows[0],
            definition_digest=profile.definition_digest,
            reference_bound=one.bound,
            not_judged=reason,
        )
        for one in compare_profiles(package.reference, package.reference_days, profile, spec.monitoring)
    ]


def not_judged(days: ReferenceDays | None, rows: int, limits: Monitoring) -> str:
    """Why a day of so many rows cannot be judged, with the count and the limit; empty where it can.

    A package that never had reference days is judged by the thresholds alone, as it always was.
    """
    if not limits.judge_drift:
        return f"{rows} rows; monitoring.judge_drift is off"
    if rows < limits.min_rows:
        return f"{rows} rows, at least {limits.min_rows} (monitoring.min_rows)"
    if days is not None and not days.large(limits.min_rows):
        return f"no reference day of the model has {limits.min_rows} rows (monitoring.min_rows)"
    return ""


def compare_profiles(reference: Profile, days: ReferenceDays | None, day: Profile, limits: Monitoring) -> list[Finding]:
    """Compares two profiles of one definition in every column and the score, and marks the violations.

    Args:
        reference: The training reference.
        days: How much the reference's days differ; without them the thresholds decide alone.
        day: The profile of the day.
        limits: The spec's section.
    """
    columns = (*reference.columns, SCORE)
    found = [one for column in columns for one in _findings(column, (reference, day), days, limits)]
    violated = [] if not_judged(days, day.rows, limits) else _violations(found, limits)
    return [replace(one, violated=one in violated) for one in found]


def _violations(found: Sequence[Finding], limits: Monitoring) -> list[Finding]:
    """The findings with effect and evidence; those that are only reported are no comparisons of the day either."""
    tested = [one for one in found if one.metric not in SHAPES or one.column not in limits.report_only]
    evidence = improbable([one.p_value for one in tested])
    return [one for one, significant in zip(tested, evidence, strict=True) if significant and one.exceeds]


def write_drift(
    lake: Lake,
    spec: ModelSpec,
    manifest: Manifest,
    comparisons: Sequence[DriftComparison],
    *,
    since: date | None = None,
) -> int | None:
    """Replaces the day's rows of `<model>__drift` in one commit, unless they stand there already.

    Nothing is written once the day has a later generation: the rows are about that one then.

    Args:
        lake: `<model>__drift` is written.
        spec: The model.
        manifest: The tally that was compared.
        comparisons: What was found.
        since: The first period that was compared with it; its own, when not given.

    Returns:
        The version of the commit, if there was one.
    """
    calendar = spec.schedule.calendar
    rows = [_row(calendar, manifest, one, since or manifest.score_date) for one in comparisons]
    outdated = unless_scored_again(lake, spec, manifest)
    return Table(DRIFT, lake, spec).replace_if_changed(rows, {"score_date": manifest.score_date}, outdated=outdated)


def drift_of(lake: Lake, spec: ModelSpec, manifest: Manifest) -> list[DriftRow]:
    """The rows about a tally; none where it was not compared."""
    rows = Table(DRIFT, lake, spec).read({"score_date": manifest.score_date})
    return [row for row in rows if row.generation == manifest.generation]


def _champion(manifest: Manifest) -> ModelRef:
    for model in manifest.models:
        if model.role is Role.CHAMPION:
            return model
    roles = ", ".join(model.role.value for model in manifest.models) or "none"
    raise PackageError(
        f"the tally of {manifest.model} on {manifest.score_date} has no champion (roles: {roles})",
        expected="a champion, whose training reference the day is compared with",
    )


def _check_same_definition(package: Package, champion: ModelRef, profile: Profile) -> None:
    if package.digest != champion.digest:
        raise PackageError(
            f"package {package.digest[:12]} was given to compare a day that {champion.digest[:12]} scored",
            expected="the package of the champion in the manifest",
        )
    if profile.definition_digest != package.reference.definition_digest:
        raise PackageError(
            f"the day's profile was counted by definition {profile.definition_digest[:12]}",
            expected=f"definition {package.reference.definition_digest[:12]}, the package's",
            remedy="rebuild the profile row of the day from its scored table, then run the step again",
        )


def _findings(
    column: str, sides: tuple[Profile, Profile], days: ReferenceDays | None, limits: Monitoring
) -> Iterator[Finding]:
    reference, day = (Side.of(side, column) for side in sides)
    thresholds = {
        "psi": limits.psi_threshold,
        "js": limits.js_threshold,
        "null_share": limits.null_share_threshold,
        "unseen_share": limits.unseen_share_threshold,
    }
    for metric, value in distances(reference, day).items():
        bound = days.bound(column, metric, limits.reference_quantile, limits.min_rows) if days else None
        rows = (reference.values, day.values) if metric in SHAPES else (reference.rows, day.rows)
        threshold = thresholds[metric]
        p_value = _p_value(metric, (value, threshold), reference, day)
        yield Finding(column, metric, value, threshold, bound, p_value, rows)


def _p_value(metric: str, found: tuple[float, float], reference: Side, day: Side) -> float:
    """The probability of the value if the true distance is at the threshold and rows are independent."""
    value, threshold = found
    if metric not in SHAPES:
        return share_p_value(day.failed[metric], day.rows, reference.share(metric) + threshold)
    cells = int(((reference.counts + day.counts) > 0).sum())
    p_value = psi_p_value if metric == "psi" else js_p_value
    return p_value(value, threshold, (reference.values, day.values), cells)


def _row(calendar: Calendar, manifest: Manifest, one: DriftComparison, since: date) -> DriftRow:
    same = (
        "model_version", "baseline", "metric", "variant", "value", "threshold", "p_value", "violated", "rows",
        "reference_rows", "definition_digest", "reference_bound", "not_judged",
    )  # fmt: skip
    return DriftRow(
        **{name: getattr(one, name) for name in same},
        score_date=one.score_date,
        window_start=since,
        window_end=calendar.last_date(one.score_date),
        granularity=f"1 {calendar.unit}",
        model_name=one.model,
        model_id=f"{one.model}/{one.model_version}",
        slice_key=None,
        slice_value=None,
        column_name=one.column,
        drift_type="baseline",
        generation=manifest.generation,
    )
