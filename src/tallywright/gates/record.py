"""Gate reports as rows of `<model>__gates`, a row a check, so that SQL can tell why a day or model was refused."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import pyarrow as pa

from tallywright.data.delta.rows import written_order
from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import GateRefusedError
from tallywright.gates.expectations.results import UNEVALUATED
from tallywright.records import (
    JUDGED_AGAINST,
    JUDGED_PACKAGE,
    QUALITY,
    Check,
    GateReport,
    InputVersion,
    Record,
    Verdict,
    digest_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

DAY_GATE: Final = "day"


class GateRow(Record):
    """One row of `<model>__gates`: a check of a report."""

    report_id: str
    recorded_at: datetime
    run_id: str
    model: str
    gate: str
    subject: str
    gate_verdict: str
    position: Annotated[int, pa.int32()]
    check_name: str
    verdict: str
    observed_number: float | None = None
    observed_text: str | None = None
    bound: str
    evidence: str
    judged_by: str | None = None
    """Digest of what the judgement depends on besides the subject: suite, spec, library. None where nobody asks."""
    found: str | None = None
    """`pass` or `fail`: whether the condition was met; `verdict` says what follows. None in rows of the time before."""
    sequence: int | None = None
    """Orders the reports; the commit gives it. None in older rows."""


GATES: Final = Declaration(
    what="gates",
    record=GateRow,
    key=("report_id", "position"),
    slice=("report_id",),
    kind=Kind.SLICE,
    doc="gate reports about days and models, a row a check",
    numbered="sequence",
)
_NO_CHECK: Final = -1
"""The position of the one row of a report without checks, which must not look like no report."""


def day_subject(judged: InputVersion) -> str:
    """The subject of a day's report: the content of the day, whatever Delta version holds it."""
    return f"{judged.score_date}@{judged.fingerprint}"


def report_id_of(report: GateReport, run_id: str) -> str:
    """The identity of a run's report."""
    return digest_of([report.gate, report.model, report.subject, run_id])


def newest_report(lake: Lake, spec: ModelSpec, judged: InputVersion) -> str:
    """The identity of the newest day report about exactly this content; empty when it was never judged."""
    rows = _newest_day_report(lake, spec, judged)
    return rows[0].report_id if rows else ""


def record_report(  # noqa: PLR0913 - what, where, when, by whom and over what are the caller's to say
    lake: Lake,
    spec: ModelSpec,
    report: GateReport,
    *,
    run_id: str,
    recorded_at: datetime,
    judged_by: str | None = None,
    unless: Callable[[], str] | None = None,
) -> None:
    """Writes a report; the same run's report of the same gate and subject is replaced.

    Args:
        lake: Where `<model>__gates` is.
        spec: The model.
        report: What the gate found.
        run_id: The run that asked.
        recorded_at: The instant of the report.
        judged_by: Digest of what the judgement depends on besides the subject, for `report_of`.
        unless: Asked right before the commit: says why the report must not be the newest; an empty text lets it.

    Raises:
        StorageError: The table cannot be written.
    """
    head = {
        "report_id": report_id_of(report, run_id),
        "recorded_at": recorded_at,
        "run_id": run_id,
        "model": report.model,
        "gate": report.gate,
        "subject": report.subject,
        "gate_verdict": report.verdict.value,
        "judged_by": judged_by,
    }
    rows = [GateRow.model_validate(head | row) for row in _rows(report)]
    Table(GATES, lake, spec).replace(rows, outdated=None if unless is None else lambda _: unless())


def reports(lake: Lake, spec: ModelSpec, *, subject: str) -> list[GateReport]:
    """All reports about a subject, the oldest first."""
    return [_report(rows) for rows in _reports_about(lake, spec, subject)]


def reports_of_version(lake: Lake, spec: ModelSpec, digest: str, against: str = "") -> dict[str, GateReport]:
    """The newest report of each gate about the version with this package, by gate.

    Where the package is a refit, what the gates found of the package that was judged for it belongs to it.

    Args:
        lake: Where `<model>__gates` is.
        spec: The model.
        digest: Of the version's package.
        against: Digest of a champion, or that there is none: a quality report about just this comparison comes before
            newer ones about others.
    """
    newest = _newest_of_each(reports(lake, spec, subject=digest), against)
    judged = next((str(found) for report in newest.values() if (found := report.observed(JUDGED_PACKAGE))), "")
    return (_newest_of_each(reports(lake, spec, subject=judged), against) if judged else {}) | newest


def _newest_of_each(found: Sequence[GateReport], against: str) -> dict[str, GateReport]:
    same = (one for one in found if one.gate == QUALITY and against and one.observed(JUDGED_AGAINST) == against)
    return {report.gate: report for report in (*found, *same)}


def reports_of_gate(lakes: Sequence[Lake], spec: ModelSpec, gate: str) -> list[tuple[str, GateReport]]:
    """All reports of a gate, each with the run that made it, the oldest first.

    One that was copied from lake to lake counts once. Of several lakes the clock orders them, since each numbers its
    own commits.
    """
    found: dict[str, list[GateRow]] = {}
    for lake in lakes:
        by_report: dict[str, list[GateRow]] = {}
        rows = Table(GATES, lake, spec).read({"gate": gate})
        for row in sorted(rows, key=lambda row: (written_order(vars(row)), row.report_id, row.position)):
            by_report.setdefault(row.report_id, []).append(row)
        found = by_report | found
    ordered = list(found.values())
    if len(lakes) > 1:
        ordered.sort(key=lambda rows: rows[0].recorded_at)
    return [(rows[0].run_id, _report(rows)) for rows in ordered]


def report_of(lake: Lake, spec: ModelSpec, judged: InputVersion, judged_by: str) -> GateReport | None:
    """The newest day report about exactly this content, if it was made by the same suite, spec and library."""
    rows = _newest_day_report(lake, spec, judged)
    return _report(rows) if rows and rows[0].judged_by == judged_by else None


def require_day_passed(lake: Lake, spec: ModelSpec, judged: InputVersion) -> None:
    """Refuses a day unless its newest report, about exactly this content, is there and did not fail.

    Raises:
        GateRefusedError: The day was never judged, or failed; names the checks.
    """
    day, model = judged.score_date, spec.name
    rows = _newest_day_report(lake, spec, judged)
    if not rows:
        raise GateRefusedError(
            f"{day} of {model} was not judged: no report of the day gate about its present content",
            expected="a day that passed the day gate since it was last ingested",
            remedy=f"tally run {model} day-gate --date {day}",
        )
    report = _report(rows)
    if report.verdict is Verdict.FAIL:
        failures = [f"{check.name}: {check.evidence or check.observed}" for check in report.failed]
        raise GateRefusedError(
            f"{day} of {model} failed the day gate: {'; '.join(failures[:5]) or 'nothing was checked'}",
            expected="no failed check of severity critical",
            remedy=day_remedy(report, spec),
            checks=tuple(check.name for check in report.failed),
        )


def day_remedy(report: GateReport, spec: ModelSpec) -> str:
    """What to do about a day that was refused: the data are at fault, or a suite that asks what cannot be answered."""
    suite, failed = f"expectations/{spec.suite}", report.failed
    unevaluated = [check for check in failed if UNEVALUATED in check.evidence]
    ask = f"correct {suite}: it asks what cannot be judged on these rows"
    if failed and len(unevaluated) == len(failed):
        return ask
    remedy = f"correct the data and ingest the day again, or {suite} if it asks too much"
    return f"{remedy}; {ask}" if unevaluated else remedy


def _newest_day_report(lake: Lake, spec: ModelSpec, judged: InputVersion) -> list[GateRow]:
    """The rows of the newest report of the day gate about exactly this content; none when it was never judged."""
    found = [rows for rows in _reports_about(lake, spec, day_subject(judged)) if rows[0].gate == DAY_GATE]
    return found[-1] if found else []


def _reports_about(lake: Lake, spec: ModelSpec, subject: str) -> list[list[GateRow]]:
    """The rows of each report about a subject, the oldest report first."""
    rows = Table(GATES, lake, spec).read({"subject": subject})
    by_report: dict[str, list[GateRow]] = {}
    for row in sorted(rows, key=lambda row: (written_order(vars(row)), row.report_id, row.position)):
        by_report.setdefault(row.report_id, []).append(row)
    return list(by_report.values())


def _rows(report: GateReport) -> Iterator[dict[str, Any]]:
    if not report.checks:
        yield {"position": _NO_CHECK, "check_name": "", "verdict": Verdict.FAIL.value,
               "found": Verdict.FAIL.value, "bound": "", "evidence": ""}  # fmt: skip
    for position, check in enumerate(report.checks):
        is_text = isinstance(check.observed, str)
        yield {
            "position": position,
            "check_name": check.name,
            "verdict": check.verdict.value,
            "found": check.found.value,
            "observed_number": None if is_text else check.observed,
            "observed_text": check.observed if is_text else None,
            "bound": check.bound,
            "evidence": check.evidence,
        }


def _report(rows: list[GateRow]) -> GateReport:
    first = rows[0]
    checks = tuple(
        Check(
            name=row.check_name,
            verdict=Verdict(row.verdict),
            observed=row.observed_text if row.observed_text is not None else row.observed_number,
            bound=row.bound,
            evidence=row.evidence,
        )
        for row in rows
        if row.position != _NO_CHECK
    )
    return GateReport(gate=first.gate, model=first.model, subject=first.subject, checks=checks)
