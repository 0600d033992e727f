from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tallywright import metrics
from tallywright.gates.evidence.level import Spent, Try
from tallywright.gates.quality import gate
from tallywright.packaging.predictor import Predictor
from tallywright.records import Verdict
from tallywright.spec.sections import MetricBound

from .conftest import DAY, holdout

AS_OF = date(2013, 7, 1)


def quality_gate(project, *, candidate, champion, holdout, as_of=AS_OF, **more):
    return gate.quality_gate(project, [gate.Sample(candidate, holdout)], champion, as_of=as_of, **more)


def checks(report):
    return {check.name: check for check in report.checks}


def with_gates(project, **changes):
    gates = project.spec.gates.model_copy(update=changes)
    spec = project.spec.model_copy(update={"gates": gates})
    return type(project)(spec=spec, folder=project.folder, root=project.root, environment=project.environment)


def test_a_first_good_model_needs_the_absolute_checks_alone(project, package):
    candidate, rows = package(), holdout()
    report = quality_gate(project, candidate=candidate, champion=None, holdout=rows)
    assert report.verdict is Verdict.PASS, report.failed
    assert (report.gate, report.model, report.subject) == ("quality", "toy", candidate.digest)
    predicted = Predictor(candidate)(rows.combine_chunks().to_batches()[0])["probability"]
    expected = metrics.roc_auc(np.asarray(rows["late"]), np.asarray(predicted))
    assert checks(report)["floor_roc_auc"].observed == pytest.approx(expected)
    assert {"slice_colour=blue", "slice_colour=red"} <= checks(report).keys()


def test_a_model_below_the_floor_fails(project, package):
    report = quality_gate(project, candidate=package(weight=0.0), champion=None, holdout=holdout())
    assert "floor_roc_auc" in [check.name for check in report.failed]


def test_a_badly_calibrated_model_fails(project, package):
    report = quality_gate(project, candidate=package(bias=3.0), champion=None, holdout=holdout())
    assert [check.name for check in report.failed] == ["calibration_error"]


def test_an_interval_stays_inside_of_what_its_metric_can_be(project, package):
    # Six days of twenty rows: the t interval of the calibration error reaches below 0.
    everything = {"roc_auc": MetricBound(max=1.0), "brier": MetricBound(min=0.0)}
    bounded = with_gates(project, floors=everything, max_calibration_error=1.0)
    report = quality_gate(bounded, candidate=package(), champion=None, holdout=holdout(rows=120, days=6))
    found = checks(report)
    for name in ("floor_roc_auc", "floor_brier", "calibration_error"):
        assert found[name].verdict is Verdict.PASS, found[name]
        lower, upper = map(float, found[name].evidence[1:].partition("]")[0].split(", "))
        assert 0 <= lower <= found[name].observed <= upper <= 1


def test_a_clearly_better_candidate_beats_the_champion(project, package):
    champion = package("champion", colours=(2.0, -2.0))
    report = quality_gate(project, candidate=package(), champion=champion, holdout=holdout())
    assert report.verdict is Verdict.PASS
    found = checks(report)
    assert found["superiority_roc_auc"].observed > 0
    assert found["not_worse_log_loss"].verdict is Verdict.PASS
    assert "at 98 % on each side, from 20 days" in found["superiority_roc_auc"].evidence
    assert found["level"].observed == pytest.approx(0.02)
    assert found["as_of"].observed == "2013-07-01"


def test_a_model_that_is_no_better_is_undecided(project, package):
    report = quality_gate(project, candidate=package(), champion=package("b", bias=1e-4), holdout=holdout())
    assert report.verdict is Verdict.UNDECIDED
    assert [check.name for check in report.with_verdict(Verdict.UNDECIDED)] == ["superiority_roc_auc"]


def test_a_model_with_the_same_scores_is_refused_or_a_refresh(project, package):
    same = {"candidate": package(), "champion": package("b", code_version="another"), "holdout": holdout()}
    report = quality_gate(project, **same)
    assert [check.name for check in report.failed] == ["superiority_roc_auc"]
    assert "the same score" in checks(report)["superiority_roc_auc"].evidence
    assert quality_gate(with_gates(project, mode="refresh"), **same).verdict is Verdict.PASS


def test_a_worse_model_is_refused_and_no_refresh(project, package):
    worse = {"candidate": package(colours=(2.0, -2.0)), "champion": package("champion"), "holdout": holdout()}
    assert "superiority_roc_auc" in [check.name for check in quality_gate(project, **worse).failed]
    assert "not_worse_roc_auc" in [
        check.name for check in quality_gate(with_gates(project, mode="refresh"), **worse).failed
    ]


def test_a_refresh_may_be_worse_by_the_margin(project, package):
    near = {"candidate": package(colours=(0.2, -0.2)), "champion": package("champion"), "holdout": holdout()}
    found = {
        margin: checks(quality_gate(with_gates(project, mode="refresh", margin=margin), **near))["not_worse_roc_auc"]
        for margin in (0.0, 0.05)
    }
    assert found[0.0].verdict is not Verdict.PASS
    assert found[0.05].verdict is Verdict.PASS
    assert "level" not in checks(quality_gate(with_gates(project, mode="refresh"), **near))


def test_every_try_of_a_year_leaves_less_to_the_next(project, package):
    models = {"candidate": package(), "champion": package("champion", colours=(2.0, -2.0)), "holdout": holdout()}
    tries, levels = [], []
    for number in range(14):
        report = quality_gate(project, **models, spent=Spent(tuple(tries)))
        levels.append(checks(report)["level"].observed)
        tries.append(Try(AS_OF - timedelta(days=7 * number), levels[-1]))
    assert levels[:2] == [pytest.approx(0.02), pytest.approx(0.016)]
    assert levels[11] == pytest.approx(0.1 * 0.2 * 0.8**11)
    assert sum(levels) < 0.1
    spent = checks(report)["level"]
    assert (spent.verdict, spent.observed) == (Verdict.FAIL, 0)
    assert "the next as-of date with a level is 2014-04-15" in spent.evidence
    assert report.verdict is Verdict.FAIL


def test_a_candidate_that_ranks_better_but_is_worse_in_the_guards_fails(project, package):
    candidate = package(bias=1.2)
    champion = package("champion", colours=(0.5, -0.5))
    report = quality_gate(
        with_gates(project, max_calibration_error=0.9), candidate=candidate, champion=champion, holdout=holdout()
    )
    found = checks(report)
    assert found["superiority_roc_auc"].verdict is Verdict.PASS
    assert {check.name for check in report.failed} == {"not_worse_log_loss", "not_worse_brier"}


def test_min_gain_is_asked_of_the_lower_bound(project, package):
    champion = package("champion", colours=(2.0, -2.0))
    first = checks(quality_gate(project, candidate=package(), champion=champion, holdout=holdout()))
    lower = first["superiority_roc_auc"].observed
    stricter = with_gates(project, min_gain=lower)
    report = quality_gate(stricter, candidate=package(), champion=champion, holdout=holdout())
    assert [check.name for check in report.with_verdict(Verdict.UNDECIDED)] == ["superiority_roc_auc"]


def test_a_slice_that_gets_worse_is_refused(project, package):
    report = quality_gate(project, candidate=package("a", weight=-1.5), champion=package("champion"), holdout=holdout())
    assert checks(report)["slice_colour=red"].verdict is Verdict.FAIL


def test_the_same_evidence_gives_the_same_report(project, package):
    champion = package("champion", colours=(1.0, -1.0))
    one, other = (quality_gate(project, candidate=package(), champion=champion, holdout=holdout()) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("rows", "failed"),
    [
        (holdout(50), ["holdout_rows"]),
        (holdout().drop(["late"]), ["holdout_labels"]),
        (holdout(0), ["holdout_rows"]),
    ],
)
def test_missing_evidence_fails(project, package, rows, failed):
    report = quality_gate(project, candidate=package(), champion=None, holdout=rows)
    assert [check.name for check in report.failed] == failed


def test_a_label_that_is_missing_fails(project, package):
    rows = holdout()
    labels = rows["late"].to_pylist()
    labels[3] = None
    rows = rows.set_column(rows.schema.get_field_index("late"), "late", pa.array(labels))
    report = quality_gate(project, candidate=package(), champion=None, holdout=rows)
    assert [check.name for check in report.failed] == ["holdout_labels"]


def test_one_class_only_fails(project, package):
    rows = holdout()
    rows = rows.set_column(rows.schema.get_field_index("late"), "late", pa.array(np.zeros(rows.num_rows)))
    report = quality_gate(project, candidate=package(), champion=package("b", weight=1.0), holdout=rows)
    assert {"floor_roc_auc", "superiority_roc_auc", "metrics"} <= {check.name for check in report.failed}


def test_a_bound_that_the_interval_does_not_clear_is_undecided(project, package):
    first = checks(quality_gate(project, candidate=package(), champion=None, holdout=holdout()))["floor_roc_auc"]
    floor = project.spec.gates.floors["roc_auc"].model_copy(update={"min": first.observed - 1e-4})
    near = quality_gate(
        with_gates(project, floors={"roc_auc": floor}), candidate=package(), champion=None, holdout=holdout()
    )
    assert checks(near)["floor_roc_auc"].verdict is Verdict.UNDECIDED
    assert near.verdict is Verdict.UNDECIDED


def test_an_unknown_floor_fails(project, package):
    floor = project.spec.gates.floors["roc_auc"]
    unknown = with_gates(project, floors={"f17": floor})
    report = quality_gate(unknown, candidate=package(), champion=None, holdout=holdout())
    assert [check.name for check in report.failed] == ["floor_f17"]


def test_a_champion_that_cannot_score_these_rows_fails_without_a_traceback(project, package):
    champion = package("b", weight=1.0)
    report = quality_gate(project, candidate=package(), champion=champion, holdout=holdout().drop(["x"]))
    assert [check.name for check in report.failed] == ["metrics"]
    assert "'x'" in checks(report)["metrics"].evidence


def test_a_champion_that_has_seen_the_holdout_is_pointed_out(project, package):
    rows = holdout()
    for seen, days in ((1, 18), (13, 6)):
        champion = package("b", colours=(2.0, -2.0), fitted_through=DAY + timedelta(days=seen))
        found = checks(quality_gate(project, candidate=package(), champion=champion, holdout=rows))
        assert (found["pair_days"].verdict, found["pair_days"].observed) == (Verdict.PASS, days)
        assert f"from {days} days" in found["superiority_roc_auc"].evidence


@pytest.mark.parametrize(("seen", "failed"), [(-1, []), (0, ["holdout_unseen"]), (30, ["holdout_unseen"])])
def test_a_candidate_that_has_seen_a_day_of_the_holdout_fails(project, package, seen, failed):
    leaking = package(fitted_through=DAY + timedelta(days=seen))
    report = quality_gate(project, candidate=leaking, champion=None, holdout=holdout())
    assert [check.name for check in report.failed] == failed


def test_too_few_days_after_both_fits_are_no_evidence(project, package):
    champion = package("b", colours=(2.0, -2.0), fitted_through=DAY + timedelta(days=14))
    report = quality_gate(project, candidate=package(), champion=champion, holdout=holdout(), as_of=date(2013, 6, 21))
    found = checks(report)
    assert report.verdict is Verdict.UNDECIDED
    assert (found["pair_days"].verdict, found["pair_days"].observed) == (Verdict.UNDECIDED, 5)
    assert "the first as-of date with enough is 2013-06-22" in found["pair_days"].evidence
    assert "superiority_roc_auc" not in found


def test_no_holdout_with_enough_days_is_said(project, package):
    spec = project.spec.model_copy(update={"training": project.spec.training.model_copy(update={"holdout_days": 5})})
    short = type(project)(spec=spec, folder=project.folder, root=project.root, environment=project.environment)
    rows = holdout(days=5)
    report = quality_gate(short, candidate=package(), champion=package("b", weight=1.0), holdout=rows)
    assert "no holdout of training.holdout_days 5 has 6 days" in checks(report)["pair_days"].evidence
    first = quality_gate(short, candidate=package(), champion=None, holdout=rows)
    assert first.verdict is Verdict.WARN
    assert "no interval" in checks(first)["floor_roc_auc"].evidence


def test_an_unsupported_task_fails(project, package):
    spec = project.spec.model_copy(update={"training": project.spec.training.model_copy(update={"task": "multiclass"})})
    other = type(project)(spec=spec, folder=project.folder, root=project.root, environment=project.environment)
    report = quality_gate(other, candidate=package(), champion=None, holdout=holdout())
    assert [check.name for check in report.failed] == ["task_supported"]
