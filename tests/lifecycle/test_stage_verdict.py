"""How a trial ends that measures nothing: silent, without labels, or with labels that do not define the metric."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
from synthetic import DAY, make_spec

from tallywright.lifecycle.rollout.days import StageDays, _by_date, _Rows
from tallywright.lifecycle.rollout.verdict import Next, StageVerdict, judge_stage
from tallywright.records import Promotion, Role
from tallywright.registry.stages import StageTerms
from tallywright.score_period import Hour

SPEC = make_spec()
TERMS = StageTerms(number=1, of=1, role=Role.CANARY, share=0.1, days=6, metric="roc_auc", level=0.05, champion=1)
STAGE = Promotion.model_construct(effective_from=DAY, package_digest="digest", stage_json=TERMS.to_json())


def on(number: int) -> date:
    return DAY + timedelta(days=number)


def hours(number: int, count: int) -> list[date]:
    begin = datetime(on(number).year, on(number).month, on(number).day, tzinfo=UTC)
    return [Hour(on(number), begin + timedelta(hours=hour)) for hour in range(count)]


def rows(day: date, count: int, *, positives: bool = True) -> tuple[_Rows, _Rows]:
    target = np.arange(count) % 2.0 if positives else np.zeros(count)
    scores = np.random.default_rng(day.toordinal()).random(count)
    return _Rows(day, target, scores), _Rows(day, target, 1 - scores)


def bare(day: date) -> tuple[_Rows, _Rows]:
    mine, its = rows(day, 10)
    return _Rows(day, mine.target[:0], mine.scores[:0]), its


def judged(days: StageDays) -> StageVerdict:
    return judge_stage(SPEC, STAGE, days)


def failed(verdict: StageVerdict) -> list[str]:
    return [check.name for check in verdict.report.failed]


def seen(found: list[tuple[_Rows, _Rows]], silent: dict[date, str] | None = None) -> StageDays:
    return _by_date(found, 12, set(), {}, silent or {})


def test_hours_of_one_date_are_one_silent_day_and_a_date_with_an_hour_that_scored_is_none() -> None:
    one_date = seen([], dict.fromkeys(hours(0, 8), "no package"))
    assert one_date.silent == {on(0): "no package"}
    assert judged(one_date).what is Next.STAYS
    first, *others = hours(0, 8)
    assert not seen([rows(first, 10)], dict.fromkeys(others, "no package")).silent
    assert not _by_date([], 12, {on(0)}, {}, dict.fromkeys(others, "no package")).silent
    broken = _by_date([], 12, set(), {first: "mean", others[0]: "share"}, dict.fromkeys(others[1:], "no package"))
    assert (broken.broken, broken.silent) == ({on(0): "mean"}, {})


def test_a_version_that_does_not_score_is_returned_and_the_report_says_so() -> None:
    verdict = judged(seen([], {on(number): "no package" for number in range(6)}))
    assert (verdict.what, failed(verdict)) == (Next.RETURNS, ["scored"])
    assert verdict.why.endswith(f"it has not scored on 6 days, the last {on(5)}: no package")
    assert not [check for check in verdict.report.checks if check.name.startswith("gain")]


def test_labels_that_never_come_end_a_trial_after_twice_its_days() -> None:
    counted = [rows(on(number), 10) for number in range(3)]
    waits = judged(seen(counted + [bare(on(number)) for number in range(3, 11)]))
    assert waits.what is Next.STAYS
    assert waits.why.endswith("3 of 6 days have mature labels, 8 have no labelled rows")
    end = judged(seen(counted + [bare(on(number)) for number in range(3, 12)]))
    assert (end.what, failed(end)) == (Next.RETURNS, ["labelled"])
    assert "not measured: 3 of 6 days have mature labels, 9 have no labelled rows" in end.why
    # What comes later changes nothing: it would depend on the day on which somebody looks.
    later = [rows(on(number), 10) for number in range(12, 20)]
    assert judged(seen([*counted, *(bare(on(number)) for number in range(3, 12)), *later])) == end


def test_labels_that_do_not_define_the_metric_end_a_trial_with_its_days() -> None:
    of_one_day = [rows(on(number), 10, positives=number == 2) for number in range(6)]
    assert judged(seen(of_one_day[:5])).what is Next.STAYS
    end = judged(seen(of_one_day))
    assert (end.what, failed(end)) == (Next.RETURNS, ["labelled"])
    assert "roc_auc has no interval after 6 days: without one of them" in end.why
