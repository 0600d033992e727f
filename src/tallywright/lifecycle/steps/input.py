"""The first half of the score pipeline: the day's input, and the gate that judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallywright.data.etl.input_record import input_version
from tallywright.errors import GateRefusedError
from tallywright.gates.record import record_report
from tallywright.records import GateReport, Verdict

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext


def ingest(context: RunContext) -> dict[str, Any]:
    """Raw files to features and labels of the day; equal content makes no commit."""
    from tallywright.data.etl.ingest import ingest as ingest_days

    (day,) = ingest_days(context.project, context.lake, context.day, context.day)
    return day.model_dump(mode="json")


def day_gate(context: RunContext) -> dict[str, Any]:
    """Judges the day as ingested, records the report, and refuses the day when a critical expectation fails."""
    from tallywright.gates.day import day_gate as judge

    source = input_version(context.lake, context.spec, context.day)
    report = judge(context.project, context.lake, source, gates=context.day_gates, page=context.options.page)
    record_report(context.lake, context.spec, report, run_id=context.run_id, recorded_at=context.now)
    require_passed(report, remedy="correct the data and ingest the day again; the report is in the Data Docs")
    return {"subject": report.subject, "verdict": report.verdict.value, "checks": len(report.checks)}


def require_passed(report: GateReport, *, remedy: str) -> None:
    """Raises when the report failed, naming its failed checks.

    Raises:
        GateRefusedError: With each failed check's observed value and bound.
    """
    if report.verdict is not Verdict.FAIL:
        return
    lines = [
        f"{check.name}: observed {check.observed}" + (f" ({check.evidence})" if check.evidence else "")
        for check in report.failed
    ]
    raise GateRefusedError(
        f"the {report.gate} gate refuses {report.subject}: " + "; ".join(lines or ["it made no checks"]),
        expected="; ".join(f"{check.name} {check.bound}" for check in report.failed if check.bound),
        remedy=remedy,
    )
