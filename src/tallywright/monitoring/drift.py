"""A day's profile against the training reference in the package: the rows of `<model>__drift`, without a second read.

Per feature column and for the score: PSI and Jensen-Shannon distance of the cells, and by how much the null share and
the share of unseen categories exceed the reference's. A violation is above its threshold and improbable below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.errors import PackageError
from tallywright.monitoring.evidence import improbable, js_p_value, psi_p_value, share_p_value
from tallywright.profiles.definition import SCORE
from tallywright.profiles.distance import js_distance, psi
from tallywright.records import DriftSignal, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tallywright.data.lake import Lake
    from tallywright.packaging.package import Package
    from tallywright.profiles.profile import Profile
    from tallywright.records import Manifest, ModelRef
    from tallywright.spec.model import ModelSpec, Monitoring

BASELINE: Final = "training"
PSI_VARIANT: Final = "psi.reference_quantiles.floor1e-4"
JS_VARIANT: Final = "js.reference_quantiles.distance.base2"
"""How the figure is made, as `profiles.distance` documents it: other tools give other numbers."""

SCHEMA: Final = pa.schema(
    [
        ("score_date", pa.date32()),
        ("window_start", pa.date32()),
        ("window_end", pa.date32()),
        ("granularity", pa.string()),
        ("model_name", pa.string()),
        ("model_id", pa.string()),
        ("model_version", pa.int64()),
        ("slice_key", pa.string()),
        ("slice_value", pa.string()),
        ("column_name", pa.string()),
        ("drift_type", pa.string()),
        ("baseline", pa.string()),
        ("metric", pa.string()),
        ("variant", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("p_value", pa.float64()),
        ("violated", pa.bool_()),
        ("rows", pa.int64()),
        ("reference_rows", pa.int64()),
        ("generation", pa.int64()),
        ("definition_digest", pa.string()),
    ]
)
"""Named after the drift metrics table of Databricks' monitors, where that has a name for the thing."""


class Comparison(DriftSignal):
    """A drift signal with what made it: which variant of the metric, how many rows, how improbable without a change."""

    variant: str
    p_value: float
    rows: int
    reference_rows: int
    definition_digest: str


@dataclass(frozen=True, slots=True)
class _Found:
    """One distance of one column, before the day is judged as a whole."""

    column: str
    metric: str
    variant: str
    value: float
    threshold: float
    p_value: float
    rows: tuple[int, int]


def compare_day(spec: ModelSpec, package: Package, manifest: Manifest, profile: Profile) -> list[Comparison]:
    """Compares the profile of a tally with the reference of the champion that scored it.

    Args:
        spec: Thresholds and the least number of rows.
        package: The champion's.
        manifest: The tally's.
        profile: The tally's, for the champion.

    Raises:
        PackageError: The package is not the champion's, or the profile was counted by another definition.
    """
    champion = _champion(manifest)
    _check_same_definition(package, champion, profile)
    columns = (*package.reference.columns, SCORE)
    found = [one for column in columns for one in _distances(column, package.reference, profile, spec.monitoring)]
    violated = _violations(found, profile.rows, spec.monitoring)
    return [
        Comparison(
            model=manifest.model,
            model_version=champion.version,
            score_date=manifest.score_date,
            column=one.column,
            baseline=BASELINE,
            metric=one.metric,
            variant=one.variant,
            value=one.value,
            threshold=one.threshold,
            p_value=one.p_value,
            violated=one in violated,
            rows=one.rows[1],
            reference_rows=one.rows[0],
            definition_digest=profile.definition_digest,
        )
        for one in found
    ]


def _violations(found: Sequence[_Found], rows: int, limits: Monitoring) -> list[_Found]:
    """Effect and evidence; columns that are only reported do not count among the day's comparisons either."""
    judged = [one for one in found if one.column not in limits.report_only]
    if rows < limits.min_rows:
        return []
    evidence = improbable([one.p_value for one in judged])
    return [one for one, surprising in zip(judged, evidence, strict=True) if surprising and one.value > one.threshold]


def write_drift(lake: Lake, spec: ModelSpec, manifest: Manifest, comparisons: Sequence[Comparison]) -> int:
    """Replaces the day's rows of `<model>__drift` in one commit.

    Returns:
        The table's version that holds them.
    """
    data = pa.Table.from_pylist([_row(manifest, one) for one in comparisons], schema=SCHEMA)
    return lake.replace(spec.table("drift"), data, slice={"score_date": manifest.score_date})


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


def _distances(column: str, reference: Profile, day: Profile, limits: Monitoring) -> Iterator[_Found]:
    yield from _shapes(column, reference, day, limits)
    if column == SCORE:
        return
    yield _excess(column, "null_share", (reference, day), limits.null_share_threshold)
    if day.column(column).kind == "categorical":
        yield _excess(column, "unseen_share", (reference, day), limits.unseen_share_threshold)


def _excess(column: str, metric: str, sides: tuple[Profile, Profile], threshold: float) -> _Found:
    """By how much the share of null (or unseen) rows of the day exceeds the reference's."""
    reference, day = sides
    counter = "nulls" if metric == "null_share" else "unseen"
    usual, count = (getattr(side.column(column), counter) for side in sides)
    usual_share = usual / reference.rows if reference.rows else 0.0
    value = (count / day.rows if day.rows else 0.0) - usual_share
    p_value = share_p_value(count, day.rows, usual_share + threshold)
    return _Found(column, metric, f"{metric}.minus_reference", value, threshold, p_value, (reference.rows, day.rows))


_SHAPES: Final[tuple[tuple[str, str, Callable[..., float], Callable[..., float]], ...]] = (
    ("psi", PSI_VARIANT, psi, psi_p_value),
    ("js", JS_VARIANT, js_distance, js_p_value),
)


def _shapes(column: str, reference: Profile, day: Profile, limits: Monitoring) -> Iterator[_Found]:
    """PSI and JS of the cells; none where one side has no value at all (the null share tells of that)."""
    expected, actual = reference.counts(column), day.counts(column)
    rows = (int(expected.sum()), int(actual.sum()))
    if not all(rows):
        return
    cells = int(((expected + actual) > 0).sum())
    for metric, variant, distance, p_value in _SHAPES:
        value = distance(expected, actual)
        threshold = limits.psi_threshold if metric == "psi" else limits.js_threshold
        yield _Found(column, metric, variant, value, threshold, p_value(value, threshold, rows, cells), rows)


def _row(manifest: Manifest, one: Comparison) -> dict[str, object]:
    return {
        "score_date": one.score_date,
        "window_start": one.score_date,
        "window_end": one.score_date,
        "granularity": "1 day",
        "model_name": one.model,
        "model_id": f"{one.model}/{one.model_version}",
        "model_version": one.model_version,
        "slice_key": None,
        "slice_value": None,
        "column_name": one.column,
        "drift_type": "baseline",
        "baseline": one.baseline,
        "metric": one.metric,
        "variant": one.variant,
        "value": one.value,
        "threshold": one.threshold,
        "p_value": one.p_value,
        "violated": one.violated,
        "rows": one.rows,
        "reference_rows": one.reference_rows,
        "generation": manifest.generation,
        "definition_digest": one.definition_digest,
    }
