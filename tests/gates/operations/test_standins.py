"""Who stands in for a candidate is loaded and scores, or the gate refuses."""

from __future__ import annotations

from datetime import date

import pytest

from tallywright.gates.operations.gate import Incumbent, operations_gate
from tallywright.gates.operations.probe import ProbeRequest, _constant
from tallywright.gates.operations.standins import fallback_check, rollback_checks
from tallywright.records import Check, ModelRef, Verdict

DAY = date(2013, 6, 1)
REHEARSED = Check(name="rollback_rehearsed", verdict=Verdict.PASS)


def ref_of(package, version=1):
    return ModelRef(name="toy", version=version, digest=package.digest, effective_from=DAY, trained_through=DAY)


def checked(report, name):
    return next(check for check in report.checks if check.name == name)


@pytest.mark.parametrize(
    ("withdrawn", "why"), [((), "first model"), ((1, 2), "no champion is left: versions 1, 2 withdrawn")]
)
def test_without_a_champion_to_go_back_to_the_checklist_says_why(package, withdrawn, why):
    (check,) = rollback_checks(package(), None, withdrawn, {})
    assert (check.name, check.verdict, check.observed, check.evidence) == (
        "rollback_target", Verdict.PASS, "none", why,
    )  # fmt: skip


def test_the_champion_is_loaded_and_scores_and_is_the_fallback(package, with_section):
    project = with_section("scoring", fallback={"model": "previous", "covers": ["package"]})
    champion = package("before", 1.0)
    report = operations_gate(project, package(), champion=Incumbent(ref_of(champion), champion, REHEARSED))
    assert report.failed == ()
    assert checked(report, "rollback_target").observed == "version 1"
    assert checked(report, "fallback_scores").verdict is Verdict.PASS
    assert REHEARSED in report.checks


@pytest.mark.long
def test_a_damaged_champion_is_nobody_to_go_back_to(package, with_section):
    project = with_section("scoring", fallback={"model": "previous", "covers": ["package"]})
    champion = package("before", 1.0)
    (champion.folder / "model.onnx").write_bytes(b"something else")
    report = operations_gate(project, package(), champion=Incumbent(ref_of(champion), champion, REHEARSED))
    assert [check.name for check in report.failed] == ["fallback_scores", "rollback_target"]
    assert all("model.onnx was altered" in check.evidence for check in report.failed)


@pytest.mark.long
def test_a_champion_of_another_meaning_is_no_fallback(package, with_section):
    project = with_section("scoring", fallback={"model": "previous", "covers": ["package"]})
    champion = package("before", classes=("no", "yes"), positive="yes")
    report = operations_gate(project, package(), champion=Incumbent(ref_of(champion), champion, REHEARSED))
    assert [check.name for check in report.failed] == ["fallback_scores"]
    assert "positive class" in report.failed[0].evidence


@pytest.mark.parametrize(("constant", "sound"), [(0.2, True), (1.5, False)])
def test_the_declared_constant_is_made_into_a_row(package, constant, sound):
    candidate = package()
    found = _constant(candidate, ProbeRequest(str(candidate.folder), candidate.digest, constant=constant))
    assert found == {"rows": 1, "finite": sound, "same_schema": True}


@pytest.mark.parametrize(("finite", "verdict"), [(True, Verdict.PASS), (False, Verdict.FAIL)])
def test_a_constant_must_be_a_score(with_section, finite, verdict):
    project = with_section("scoring", fallback={"model": "constant", "constant": 0.2, "covers": ["output"]})
    observed = {"constant": {"rows": 1, "finite": finite, "same_schema": True}}
    check = fallback_check(project.spec.scoring.fallback, None, observed)
    assert (check.verdict, check.observed) == (verdict, "the constant 0.2")
    assert fallback_check(project.spec.scoring.fallback, None, {}).verdict is Verdict.FAIL


def test_before_the_first_promotion_there_is_no_previous_champion(with_section):
    project = with_section("scoring", fallback={"model": "previous", "covers": ["output"]})
    assert fallback_check(project.spec.scoring.fallback, None, {}).verdict is Verdict.NOTE


def test_a_candidate_is_no_champion_to_go_back_to(package):
    candidate = package()
    check, _ = rollback_checks(candidate, Incumbent(ref_of(candidate), candidate, REHEARSED), (), {})
    assert (check.verdict, check.evidence) == (Verdict.FAIL, "it is the candidate itself")
