from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tallywright import metrics
from tallywright.gates.quality import quality_gate
from tallywright.packaging.predictor import Predictor
from tallywright.records import Verdict

from .conftest import DAY, holdout


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


def test_a_clearly_better_candidate_beats_the_champion(project, package):
    champion = package("champion", colours=(2.0, -2.0))
    report = quality_gate(project, candidate=package(), champion=champion, holdout=holdout())
    assert report.verdict is not Verdict.FAIL
    found = checks(report)
    assert found["superiority_roc_auc"].observed > 0
    assert found["not_worse_log_loss"].verdict is Verdict.PASS
    assert "paired resamples by day" in found["superiority_roc_auc"].evidence


def test_the_same_model_is_not_better_than_itself(project, package):
    report = quality_gate(project, candidate=package(), champion=package("b", bias=1e-6), holdout=holdout())
    assert [check.name for check in report.failed] == ["superiority_roc_auc"]


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
    assert [check.name for check in report.failed] == ["superiority_roc_auc"]


def test_a_slice_that_gets_worse_is_a_warning(project, package):
    """Better on the whole; the red rows are scored at random order by the candidate."""
    champion, candidate = package("champion", weight=-1.5), package()
    report = quality_gate(project, candidate=champion, champion=candidate, holdout=holdout())
    assert checks(report)["slice_colour=red"].verdict is Verdict.WARN


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


def test_an_unknown_floor_fails(project, package):
    floor = project.spec.gates.floors["roc_auc"]
    unknown = with_gates(project, floors={"f17": floor})
    report = quality_gate(unknown, candidate=package(), champion=None, holdout=holdout())
    assert [check.name for check in report.failed] == ["floor_f17"]


def test_a_champion_that_cannot_score_these_rows_fails_without_a_traceback(project, package):
    report = quality_gate(project, candidate=package(), champion=package("b"), holdout=holdout().drop(["x"]))
    assert [check.name for check in report.failed] == ["metrics"]
    assert "'x'" in checks(report)["metrics"].evidence


def test_a_champion_that_has_seen_the_holdout_is_pointed_out(project, package):
    champion = package("b", trained_through=DAY + timedelta(days=1))
    report = quality_gate(project, candidate=package(), champion=champion, holdout=holdout())
    assert checks(report)["champion_has_not_seen_the_holdout"].verdict is Verdict.WARN


def test_an_unsupported_task_fails(project, package):
    spec = project.spec.model_copy(update={"training": project.spec.training.model_copy(update={"task": "multiclass"})})
    other = type(project)(spec=spec, folder=project.folder, root=project.root, environment=project.environment)
    report = quality_gate(other, candidate=package(), champion=None, holdout=holdout())
    assert [check.name for check in report.failed] == ["task_supported"]
