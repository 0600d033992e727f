"""A refit must still be the recipe that was judged: near its scores, and no worse on rows that it has seen."""

from __future__ import annotations

import pytest

from tallywright.gates.refit import refit_gate
from tallywright.records import Verdict

from .conftest import holdout


def refuses(report) -> list[str]:
    return [check.name for check in report.failed]


def judge(project, judged, refit):
    return refit_gate(project, judged=judged, refit=refit, holdout=holdout(1000))


def test_a_refit_that_is_near_passes(project, package):
    judged = package("judged")
    refit = package("refit", weight=1.6, judged=judged.digest)
    report = judge(project, judged, refit)
    assert report.verdict is Verdict.PASS, report.failed
    assert (report.gate, report.subject) == ("refit", refit.digest)
    assert report.observed("judged_package") == judged.digest


def test_a_refit_that_has_learned_from_more_rows_may_spread_its_scores_more(project, package):
    judged = package("judged", weight=0.4)
    report = judge(project, judged, package("refit", weight=0.8, judged=judged.digest))
    assert report.verdict is Verdict.PASS, report.failed
    assert refuses(judge(project, judged, package("wild", weight=40.0, judged=judged.digest))) == [
        "close_to_what_was_judged"
    ]


@pytest.mark.parametrize(
    ("made", "failed"),
    [
        ({"weight": -1.5}, ["close_to_what_was_judged", "learnt_roc_auc"]),
        ({"bias": 3.0}, ["close_to_what_was_judged"]),
        ({"weight": 1e-6}, ["close_to_what_was_judged"]),
        ({"weight": 1.0, "colours": (0.7, -0.7)}, ["learnt_roc_auc"]),
        ({"unit": "hours", "task": "regression"}, ["means_what_was_judged"]),
    ],
)
def test_a_refit_that_went_wrong_is_refused(project, package, made, failed):
    judged = package("judged")
    assert refuses(judge(project, judged, package("refit", judged=judged.digest, **made))) == failed


def test_a_refit_of_another_package_is_refused(project, package):
    judged = package("judged")
    assert refuses(judge(project, judged, package("refit", judged="0" * 64))) == ["judged_package"]
    assert refuses(judge(project, judged, judged)) == ["judged_package"]


def test_rows_that_a_refit_cannot_score_refuse_it(project, package):
    judged = package("judged")
    refit = package("refit", weight=1.6, judged=judged.digest)
    report = refit_gate(project, judged=judged, refit=refit, holdout=holdout(1000).drop(["x"]))
    assert refuses(report) == ["close_to_what_was_judged"]
    assert "'x'" in report.failed[0].evidence
