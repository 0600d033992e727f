"""What gate reports say about a version together, and the record that is kept beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import product

import pytest
from synthetic import make_spec

from tallywright.data.delta.lake import Lake
from tallywright.gates.record import record_report, reports_of_version
from tallywright.records import JUDGED_PACKAGE, Check, Decision, GateReport, ModelRef, Verdict, VersionVerdict
from tallywright.registry.evidence import Evidence, evidence_of, verdict_of
from tallywright.registry.versions_table import record_version, recorded_versions

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def report(gate: str, verdict: Verdict, subject: str = "judged", **observed: str) -> GateReport:
    named = (Check(name=name, verdict=Verdict.PASS, observed=value) for name, value in observed.items())
    return GateReport(gate=gate, model="shop", subject=subject, checks=(Check(name="one", verdict=verdict), *named))


@pytest.mark.parametrize(("quality", "operations", "refit"), list(product([*Verdict, None], repeat=3)))
def test_one_refusal_is_enough_and_all_have_to_pass(
    quality: Verdict | None, operations: Verdict | None, refit: Verdict | None
) -> None:
    given = {"quality": quality, "operations": operations, "refit": refit}
    reports = [report(gate, verdict) for gate, verdict in given.items() if verdict is not None]
    found = verdict_of(reports, refitted=True)
    good = {Verdict.PASS, Verdict.NOTE, Verdict.WARN}
    expected = (
        VersionVerdict.REFUSED
        if Verdict.FAIL in given.values()
        else VersionVerdict.PASSED
        if set(given.values()) <= good
        else VersionVerdict.UNDECIDED
    )
    assert found is expected
    # Without a refit its gate need not report; where it has, it counts.
    if refit is None:
        alone = verdict_of(reports, refitted=False)
        assert (alone is VersionVerdict.PASSED) == ({quality, operations} <= good)


def test_only_what_passed_is_approved() -> None:
    for verdict in Verdict:
        made = Decision(
            model="shop", candidate_version=1, candidate_digest="d", reports=(report("quality", verdict),),
            approver="me", reason="",
        )  # fmt: skip
        assert made.approved == (verdict in {Verdict.PASS, Verdict.NOTE, Verdict.WARN})


def test_the_reports_about_a_refit_are_its_own_and_those_of_what_was_judged(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), make_spec()
    made = [
        ("quality", Verdict.UNDECIDED, "judged", {}),
        ("operations", Verdict.FAIL, "judged", {}),
        ("refit", Verdict.PASS, "refit", {JUDGED_PACKAGE: "judged"}),
        ("operations", Verdict.PASS, "refit", {}),
        ("quality", Verdict.FAIL, "another", {}),
    ]
    for number, (gate, verdict, subject, observed) in enumerate(made):
        record_report(lake, spec, report(gate, verdict, subject, **observed), run_id=str(number), recorded_at=NOW)
    found = reports_of_version(lake, spec, "refit")
    assert {gate: (one.subject, one.verdict.value) for gate, one in found.items()} == {
        "quality": ("judged", "undecided"), "operations": ("refit", "pass"), "refit": ("refit", "pass"),
    }  # fmt: skip
    assert reports_of_version(lake, spec, "judged").keys() == {"quality", "operations"}


def test_the_record_is_kept_with_the_version_and_read_again(tmp_path) -> None:
    lake, spec = Lake(str(tmp_path)), make_spec()
    reports = [
        report("quality", Verdict.PASS, judged_against="champion", judged_by="settings"),
        report("operations", Verdict.PASS, "refit"),
        report("refit", Verdict.WARN, "refit"),
    ]
    made = evidence_of("shop", "refit", reports, judged="judged", snapshot_json='{"as_of": "2025-01-01"}')
    assert (made.verdict, made.judged_digest, made.champion_digest, made.gates_digest) == (
        VersionVerdict.PASSED, "judged", "champion", "settings",
    )  # fmt: skip
    assert Evidence.from_json(made.to_json()) == made
    assert made.digest != evidence_of("shop", "refit", reports[:2], judged="judged").digest
    ref = ModelRef(name="shop", version=1, digest="refit", trained_through=date(2024, 12, 31))
    record_version(lake, spec, ref, made, recorded_at=NOW)
    row = recorded_versions(lake, spec)[1]
    assert (row.verdict, row.judged_digest, row.gates_passed, row.refused) == ("passed", "judged", True, False)
    assert Evidence.from_json(row.evidence_json) == made
