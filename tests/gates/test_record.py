from __future__ import annotations

from datetime import timedelta

import pytest

from tallywright.errors import GateRefusedError
from tallywright.gates.record import day_subject, record_report, reports, require_day_passed
from tallywright.records import Check, GateReport, InputVersion, Verdict

from .conftest import DAY, NOW

JUDGED = InputVersion(table="toy__features", score_date=DAY, version=3, fingerprint="f" * 64, rows=10)


SUBJECT = day_subject(JUDGED)


def report(verdict=Verdict.PASS, *, gate="day", subject=SUBJECT, checks=None):
    made = (
        Check(name="one", verdict=verdict, observed=1.5, bound="<= 2", evidence="ten rows"),
        Check(name="two", verdict=Verdict.WARN, observed="some text"),
        Check(name="three", verdict=Verdict.PASS),
    )
    return GateReport(gate=gate, model="toy", subject=subject, checks=made if checks is None else checks)


def record(lake, project, made, run="run", minutes=0):
    record_report(lake, project.spec, made, run_id=run, recorded_at=NOW + timedelta(minutes=minutes))


def test_reports_come_back_as_they_were(lake, project):
    made = [report(), report(Verdict.FAIL, gate="quality"), report(checks=(), gate="empty")]
    for minutes, item in enumerate(made):
        record(lake, project, item, minutes=minutes)
    record(lake, project, report(subject="another"))
    assert reports(lake, project.spec, subject=SUBJECT) == made


def test_a_run_that_reports_again_replaces_its_report(lake, project):
    record(lake, project, report())
    record(lake, project, report(Verdict.FAIL), minutes=1)
    assert reports(lake, project.spec, subject=SUBJECT) == [report(Verdict.FAIL)]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_was_found_and_what_follows_are_two_columns(lake, project, verdict):
    record(lake, project, report(verdict))
    row = lake.read(project.spec.table("gates"), where={"check_name": "one"}).to_pylist()[0]
    assert row["verdict"] == verdict.value
    assert row["found"] == ("pass" if verdict is Verdict.PASS else "fail")


def test_from_a_note_nothing_follows():
    note = Check(name="one", verdict=Verdict.NOTE)
    assert report(checks=(note,)).verdict is Verdict.PASS
    assert report(checks=(note, Check(name="two", verdict=Verdict.WARN))).verdict is Verdict.WARN


def test_nothing_recorded(lake, project):
    assert reports(lake, project.spec, subject="x") == []


def test_a_day_passes_with_a_warning(lake, project):
    record(lake, project, report())
    require_day_passed(lake, project.spec, JUDGED)


def test_a_day_that_was_not_judged_is_refused(lake, project):
    record(lake, project, report(gate="quality"))
    record(lake, project, report(subject=day_subject(JUDGED.model_copy(update={"fingerprint": "e" * 64}))))
    with pytest.raises(GateRefusedError, match="was not judged"):
        require_day_passed(lake, project.spec, JUDGED)


def test_the_newest_report_counts(lake, project):
    record(lake, project, report(), run="a")
    record(lake, project, report(Verdict.FAIL), run="b", minutes=1)
    with pytest.raises(GateRefusedError, match="failed the day gate: one: ten rows"):
        require_day_passed(lake, project.spec, JUDGED)
    record(lake, project, report(), run="c", minutes=2)
    require_day_passed(lake, project.spec, JUDGED)


def test_a_report_without_checks_is_no_evidence(lake, project):
    record(lake, project, report(checks=()))
    with pytest.raises(GateRefusedError, match="nothing was checked"):
        require_day_passed(lake, project.spec, JUDGED)


def test_another_delta_version_with_the_same_content_is_the_same_day(lake, project):
    record(lake, project, report())
    require_day_passed(lake, project.spec, JUDGED.model_copy(update={"version": 9}))
