"""A day's gate report as it stands in the lake, for tests that are about something else."""

from __future__ import annotations

from datetime import date, datetime

from tallywright.data.delta.lake import Lake
from tallywright.data.inputs.versions import input_version
from tallywright.gates.record import day_subject, record_report
from tallywright.records import Check, GateReport, Verdict
from tallywright.spec.model import ModelSpec


def report_day(
    lake: Lake, spec: ModelSpec, day: date, *, at: datetime, run_id: str = "gate", verdict: Verdict = Verdict.PASS
) -> None:
    """Records a report of the day gate about a day's input as it is now, with one check of that verdict."""
    subject = day_subject(input_version(lake, spec, day))
    report = GateReport(gate="day", model=spec.name, subject=subject, checks=(Check(name="rows", verdict=verdict),))
    record_report(lake, spec, report, run_id=run_id, recorded_at=at)
