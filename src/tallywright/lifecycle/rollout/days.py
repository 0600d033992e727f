"""The scored days of a stage: the labelled rows of challenger and champion, and the days on which it could not score.

A day counts once its labels are mature, with the labels that had arrived by then: whenever a stage is looked at, its
days say the same, as long as no label is restated. A label has the time of its last statement, so one that is restated
later had not arrived by then; a day that is left without labels counts no more, and is told as one without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tallywright.buffers import floats_of
from tallywright.data.delta.rows import keep, scalar_of
from tallywright.gates.evidence.trial import PATIENCE, Arm
from tallywright.labels import UNKNOWN_CLASS, encoded
from tallywright.monitoring.labelled import KNOWN, STATUS, labelled_rows, labelled_shadows
from tallywright.records import Role
from tallywright.registry.stages import StageTerms, terms_of
from tallywright.score_period import date_of, days_since_1970
from tallywright.scoring.commit.manifests import latest_tally, scored_dates
from tallywright.tasks import EXPECTED_COST, TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.gates.evidence.daily import Floats
    from tallywright.records import Manifest, Promotion, RoleTally
    from tallywright.spec import ModelSpec

_OF_DECISIONS: Final = frozenset({"accuracy", EXPECTED_COST})
"""Metrics of what was predicted, which today's threshold might see otherwise."""


@dataclass(frozen=True, slots=True)
class StageDays:
    """The scored days of a stage up to some day.

    Attributes:
        challenger: Its labelled rows.
        champion: The champion's: the same rows beside a shadow, other keys beside a canary.
        young: The dates whose labels are not all mature yet.
        bare: The dates whose labels are mature, and of which one side has no labelled row: none of them counts.
        broken: The dates on which the canary broke its limits, each with what broke first.
        silent: The dates of which the challenger has no rows at all for another reason, each with the last reason.
    """

    challenger: Arm
    champion: Arm
    young: tuple[date, ...] = ()
    bare: tuple[date, ...] = ()
    broken: dict[date, str] = field(default_factory=dict)
    silent: dict[date, str] = field(default_factory=dict)


def days_of_stage(lake: Lake, spec: ModelSpec, stage: Promotion, last: date) -> StageDays:
    """The days of a stage that were scored, up to one.

    Args:
        lake: Where scores, shadows and labels are.
        spec: Whose.
        stage: The entry that has begun it.
        last: The score date as of which is looked.
    """
    terms, version = terms_of(stage), stage.model_version
    calendar, maturity = spec.schedule.calendar, terms.maturity or spec.data.label_maturity
    since = [day for day in sorted(scored_dates(lake, spec)) if stage.effective_from <= date_of(day) and day <= last]
    young: set[date] = set()
    broken: dict[date, str] = {}
    silent: dict[date, str] = {}
    found: list[tuple[_Rows, _Rows]] = []
    for day in since:
        tally = latest_tally(lake, spec, day)
        role = None if tally is None else _role_in(tally.manifest, terms.role, version)
        if tally is None or role is None or tally.manifest.primary.version != terms.champion:
            silent[day] = "it was not asked"
        elif role.note:
            # Figures are of a canary that has scored, and was taken back by its limits.
            (broken if role.figures else silent)[day] = role.note
        elif (as_of := calendar.settled(day, maturity)) > last:
            young.add(date_of(day))
        else:
            found.append(_rows_of_day(lake, spec, tally.manifest, _Asked(terms, version, as_of)))
    return _by_date(found, PATIENCE * terms.days, young, broken, silent)


def _by_date(
    found: Sequence[tuple[_Rows, _Rows]], most: int, young: set[date], broken: dict[date, str], silent: dict[date, str]
) -> StageDays:
    """The periods as dates, of those with mature labels the first `most`: the stage is over with them.

    Hours count with their date: it counts once the labels of each of its hours are mature, and is silent if all are.
    """
    heard = {date_of(mine.day) for mine, _ in found}
    mature = sorted(heard - young)[:most]
    pairs = [pair for pair in found if date_of(pair[0].day) in mature]
    mine, its = ([pair[place] for pair in pairs] for place in (0, 1))
    counted = _labelled_dates(mine) & _labelled_dates(its)
    first_broken = {date_of(day): why for day, why in reversed(broken.items())}
    heard |= young | first_broken.keys()
    return StageDays(
        _arm(mine),
        _arm(its),
        tuple(sorted(young)),
        tuple(day for day in mature if day not in counted),
        first_broken,
        {date_of(day): why for day, why in silent.items() if date_of(day) not in heard},
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The stage's terms, the challenger, and as of when labels count."""

    terms: StageTerms
    version: int
    as_of: date


@dataclass(frozen=True, slots=True)
class _Rows:
    """Labels and scores of one model on one day."""

    day: date
    target: Floats
    scores: Floats


def _labelled_dates(days: Sequence[_Rows]) -> set[date]:
    return {date_of(one.day) for one in days if len(one.target)}


def _role_in(manifest: Manifest, role: Role, version: int) -> RoleTally | None:
    return next((one for one in manifest.roles if (one.role, one.version) == (role, version)), None)


def _rows_of_day(lake: Lake, spec: ModelSpec, manifest: Manifest, asked: _Asked) -> tuple[_Rows, _Rows]:
    """The labelled rows of the challenger and of the champion; beside a shadow those that both have scored."""
    scores = labelled_rows(lake, spec, manifest.score_date, asked.as_of)
    champion = scores.filter(_has_role(scores, Role.CHAMPION))
    if asked.terms.role is Role.CANARY:
        challenger = scores.filter(_has_role(scores, Role.CANARY))
    else:
        shadows = labelled_shadows(lake, spec, manifest, asked.as_of)
        (shadow,) = (rows for rows in shadows if rows.column("model_version")[0].as_py() == asked.version)
        # Both are in the order of the key, and a shadow has scored every row of the day.
        challenger = shadow.filter(_has_role(scores, Role.CHAMPION))
    mine, its = (_known_rows(rows, spec, manifest, asked.terms.metric) for rows in (challenger, champion))
    return mine, its


def _has_role(rows: pa.Table, role: Role) -> pa.ChunkedArray:
    column = rows.column("role")
    return pc.equal(column, scalar_of(role.value, column.type))


def _known_rows(rows: pa.Table, spec: ModelSpec, manifest: Manifest, metric: str) -> _Rows:
    """The rows whose label is known, as metrics read them."""
    known, task, meaning = keep(rows, {STATUS: KNOWN}), TASKS[spec.training.task], manifest.meaning
    classes, positive = (meaning.classes, meaning.positive) if meaning else ((), "")
    target = encoded(known.column(spec.training.target), task, classes, positive)
    if task.per_class:
        scores = floats_of(pc.list_flatten(known.column(task.score_column))).reshape(known.num_rows, len(classes))
    else:
        column = "prediction" if task.thresholds and metric in _OF_DECISIONS else task.score_column
        scores = floats_of(known.column(column))
    named = target != UNKNOWN_CLASS if task.classifies else np.ones(len(target), dtype=np.bool_)
    return _Rows(manifest.score_date, target[named], scores[named])


def _arm(days: Sequence[_Rows]) -> Arm:
    if not days:
        return Arm(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    numbers = [np.full(len(one.target), days_since_1970(one.day), dtype=np.int64) for one in days]
    return Arm(
        np.concatenate([one.target for one in days]),
        np.concatenate([one.scores for one in days]),
        np.concatenate(numbers),
    )
