from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tallywright.records import FORMAT, Check, Decision, GateReport, Manifest, ModelRef, Role, Verdict, inputs_digest

CHECKS = st.builds(
    Check, name=st.text(), verdict=st.sampled_from(Verdict), observed=st.none() | st.floats(), bound=st.text()
)
REFS = st.builds(
    ModelRef, name=st.just("m"), version=st.integers(1, 9), digest=st.text(max_size=3), role=st.sampled_from(Role)
)


def _report(*verdicts: Verdict) -> GateReport:
    checks = tuple(Check(name=str(i), verdict=verdict) for i, verdict in enumerate(verdicts))
    return GateReport(gate="quality", model="m", subject="s", checks=checks)


def _decision(*reports: GateReport) -> Decision:
    return Decision(model="m", candidate_version=1, candidate_digest="d", reports=reports, approver="a", reason="r")


@given(st.lists(CHECKS, max_size=4))
def test_a_report_round_trips_through_json(checks: list[Check]) -> None:
    report = GateReport(gate="day", model="m", subject="s", checks=tuple(checks))
    assert GateReport.from_json(report.to_json()).to_json() == report.to_json()


def test_the_worst_check_decides_and_no_check_is_no_evidence() -> None:
    assert _report(Verdict.PASS, Verdict.WARN).verdict is Verdict.WARN
    assert _report(Verdict.FAIL, Verdict.PASS).verdict is Verdict.FAIL
    assert _report().verdict is Verdict.FAIL


def test_only_passed_reports_approve() -> None:
    assert _decision(_report(Verdict.PASS), _report(Verdict.WARN)).approved
    assert not _decision(_report(Verdict.PASS), _report(Verdict.FAIL)).approved
    assert not _decision().approved


@given(st.lists(REFS, min_size=1, max_size=4), st.randoms())
def test_the_order_of_models_does_not_change_a_tallys_inputs(refs: list[ModelRef], random) -> None:
    shuffled = list(refs)
    random.shuffle(shuffled)
    assert inputs_digest("f", tuple(refs), "s") == inputs_digest("f", tuple(shuffled), "s")


def test_each_input_changes_the_digest() -> None:
    ref = ModelRef(name="m", version=1, digest="d")
    other = ref.model_copy(update={"digest": "e"})
    canary = ref.model_copy(update={"role": Role.CANARY})
    digests = {inputs_digest(f, (m,), s) for f in "ab" for m in (ref, other, canary) for s in "xy"}
    assert len(digests) == 12


OLD = """{"model":"m","score_date":"2025-04-01","generation":2,"reason":"model","input":{"table":"m__features",
"score_date":"2025-04-01","version":3,"fingerprint":"f","rows":5},"models":[{"name":"m","version":1,"digest":"d",
"role":"champion"}],"scoring_digest":"s","rows":5,"key_digest":"k","engine":"local","run_id":"r","code_version":"c",
"committed_at":"2025-04-02T04:00:00Z","profile_digest":"p"}"""


def test_a_manifest_of_before_counts_as_format_0_and_keeps_it() -> None:
    manifest = Manifest.from_json(OLD)
    assert manifest.format == 0
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.model_copy(update={"format": FORMAT}).to_json().startswith('{"format":1,')


def test_a_manifest_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    values = json.loads(OLD) | {"format": 7, "invented": {"later": True}}
    values["input"]["invented"] = values["models"][0]["invented"] = 1
    later = Manifest.from_json(json.dumps(values))
    assert later == Manifest.from_json(OLD).model_copy(update={"format": 7})


def test_what_is_no_manifest_is_refused() -> None:
    for text in ("", "[]", "{}", "null"):
        with pytest.raises(ValidationError):
            Manifest.from_json(text)
