"""The steps of a scored day until it is compared: ingest and gate, resolve and score, profile and drift."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.generation import generation_of
from tallywright.data.inputs.versions import input_version
from tallywright.errors import CommitConflictError, GateRefusedError, PackageError, TrackingError
from tallywright.gates.record import (
    day_remedy,
    newest_report,
    record_report,
    report_id_of,
    report_of,
    require_day_passed,
)
from tallywright.lifecycle.context import packages_of
from tallywright.lifecycle.withdrawn import DayModels, models_of_day
from tallywright.observability import log
from tallywright.records import Check, GateReport, Role, Verdict
from tallywright.registry.promotion_log import clock_jumps
from tallywright.registry.resolve import withdrawn_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.gates.validate import DayGates
    from tallywright.lifecycle.context import RunContext
    from tallywright.records import InputVersion, Manifest, ModelRef, VersionOrigin
    from tallywright.scoring.commit.manifests import Tally
    from tallywright.scoring.commit.profile_table import ProfileRow
    from tallywright.scoring.prepare import ScoreOutcome, ScoreRequest

_SECONDS_BETWEEN_LINES: Final = 5.0
_RESOLUTIONS: Final = 3
"""How often a day is resolved again when another writer was faster each time."""


def await_input(context: RunContext) -> dict[str, Any]:
    """Looks whether the table that runs wait for (`schedule.after`) holds the period."""
    from tallywright.data.awaited import awaited

    missing = awaited(context.project, context.lake, context.day)
    return {"ready": not missing} | ({"missing": missing} if missing else {})


def ingest(context: RunContext) -> dict[str, Any]:
    """Raw files to features and labels of the day; equal content makes no commit, and a closed day is left out."""
    from tallywright.data.awaited import require_awaited
    from tallywright.data.etl.ingest import ingest as ingest_days

    if context.spec.schedule.calendar.is_open(context.day):
        require_awaited(context.project, context.lake, context.day)
    day = context.day
    found = ingest_days(context.project, context.lake, day, day, code_version=context.code_version)
    if not found:
        return {"action": "closed", "why": context.spec.schedule.calendar.why_closed(context.day)}
    return found[0].model_dump(mode="json", exclude={"files"})  # hundreds, perhaps: `tally ingest` shows them


def day_gate(context: RunContext) -> dict[str, Any]:
    """Judges the day as ingested, records the report, and refuses the day when a critical expectation fails.

    A day that passed is not judged again while its content, the suite, the spec and the library are what they were.
    """
    from tallywright.gates.validate import DayGates

    source = input_version(context.lake, context.spec, context.day)
    with DayGates() if context.day_gates is None else nullcontext(context.day_gates) as gates:
        report, action = _judged(context, source, gates)
    require_passed(report, remedy=f"{day_remedy(report, context.spec)}; the report is in the Data Docs")
    verdict, count = report.verdict.value, len(report.checks)
    result: dict[str, Any] = {"action": action, "subject": report.subject, "verdict": verdict, "checks": count}
    for name, kind in (("warned", Verdict.WARN), ("noted", Verdict.NOTE)):
        if checks := report.with_verdict(kind):
            result[name] = [_told(check) for check in checks]
    return result


def _judged(context: RunContext, source: InputVersion, gates: DayGates) -> tuple[GateReport, str]:
    """The report that stands and passed, when its page is here and none is asked for; else a new one, recorded."""
    from tallywright.gates.day import day_gate as judge
    from tallywright.gates.day import day_page, judged_by

    lake, spec, judges = context.lake, context.spec, judged_by(context.project, gates)
    known = newest_report(lake, spec, source)
    if not context.options.page and day_page(context.project, context.day).is_file():
        report = report_of(lake, spec, source, judges)
        if report is not None and report.verdict is not Verdict.FAIL:
            return report, "unchanged"
    report = judge(context.project, lake, source, gates=gates)
    refusals: list[str] = []

    def judged_meanwhile() -> str:
        newer = newest_report(lake, spec, source) not in {known, report_id_of(report, context.run_id)}
        refusals[:] = [f"{context.day} was judged by another run meanwhile"] * newer
        return "".join(refusals)

    record_report(
        lake, spec, report, run_id=context.run_id, recorded_at=context.now, judged_by=judges, unless=judged_meanwhile
    )
    if not refusals:
        return report, "judged"
    theirs = report_of(lake, spec, source, judges)
    if theirs is None:
        raise CommitConflictError(
            f"{refusals[0]}, with another suite, spec or library",
            expected="one set of expectations for a day",
            remedy="run it again: it judges by what stands then",
        )
    return theirs, "unchanged"


def _told(check: Check) -> str:
    """A check in a line: what was observed, and the evidence; one that could not be evaluated has the latter alone."""
    if check.observed is None and check.evidence:
        return f"{check.name}: {check.evidence}"
    return f"{check.name}: observed {check.observed}" + (f" ({check.evidence})" if check.evidence else "")


def require_passed(report: GateReport, *, remedy: str) -> None:
    """Raises when the report failed, naming its failed checks.

    Raises:
        GateRefusedError: With each failed check's observed value and bound.
    """
    if report.verdict is not Verdict.FAIL:
        return
    lines = [_told(check) for check in report.failed]
    raise GateRefusedError(
        f"the {report.gate} gate refuses {report.subject}: " + "; ".join(lines or ["it made no checks"]),
        expected="; ".join(f"{check.name} {check.bound}" for check in report.failed if check.bound),
        remedy=remedy,
        checks=tuple(check.name for check in report.failed),
    )


def resolve(context: RunContext) -> dict[str, Any]:
    """Resolves which model versions score the day. The score step asks the log again: the log decides, not this run."""
    from tallywright.scoring.roles.eligibility import check_leak

    found = _models_of_day(context, None, rescore=True)
    check_leak(context.spec, found.models, context.day)
    models = [model.model_dump(mode="json") for model in found.models]
    withdrawn = [
        entry.model_dump(mode="json", include={"model_version", "sequence", "reason"})
        for entry in found.withdrawn.values()
    ]
    told = {"withdrawn": withdrawn} if withdrawn else {}
    return {"models": models, "promotion_sequence": found.promotion_sequence} | told


def _models_of_day(context: RunContext, source: InputVersion | None, *, rescore: bool) -> DayModels:
    found = models_of_day(context.lake, context.spec, context.day, source, rescore=rescore)
    for entry in found.resolution.entries:
        for jump in clock_jumps([entry], context.now):
            log.warning("a clock was ahead: %s; the order is that of the sequence", jump)
    return found


def score(context: RunContext) -> dict[str, Any]:
    """Scores the day into one commit, and compares its profile; a repeat with the same inputs commits nothing."""
    outcome, note = _scored(context)
    manifest, row = outcome.manifest, outcome.profile_row
    assert row is not None  # noqa: S101 - it follows every commit; only a record read back from JSON has none
    return {
        "action": outcome.action,
        "version": outcome.version,
        "generation": manifest.generation,
        "reason": manifest.reason,
        "rows": manifest.rows,
        "models": [f"{model.role.value}: version {model.version}" for model in manifest.models],
        "rows_by_role": manifest.rows_by_role,
        "left_out": [f"{one.role.value} {one.version}: {one.note}" for one in manifest.roles if one.note],
        **{f"{one.role.value}_figures": one.figures for one in manifest.roles if one.figures},
        **({"withdrawn": note} if note else {}),
    } | compare(context, manifest, row)


def _scored(context: RunContext) -> tuple[ScoreOutcome, str]:
    """Scores the day; where another writer has scored something newer meanwhile, resolves again and looks again.

    The text is what is to be said about a version that was withdrawn.

    Raises:
        CommitConflictError: What stands differs, and resolving again gives what this run had.
    """
    from tallywright.scoring.day import score_day

    (request, note), progress = _request(context), _Progress()
    for _ in range(_RESOLUTIONS):
        try:
            return score_day(_with_packages(context, request), progress=progress), note
        except CommitConflictError as error:
            again, note = _request(context)
            if (again.basis, again.models) == (request.basis, request.models):
                raise
            log.info("%s is resolved again: %s", context.day, error.found)
            request = again
    return score_day(_with_packages(context, request), progress=progress), note


def _with_packages(context: RunContext, request: ScoreRequest) -> ScoreRequest:
    """The request with the packages that it needs; a day with equal inputs needs none."""
    from tallywright.scoring.day import needs_packages

    if not needs_packages(request):
        return request
    packages, missing = packages_of(context.project, request.models, context.shared.packages)
    return replace(request, packages=packages, missing=missing)


class _Progress:
    """Logs the progress of scoring every few seconds; nothing for a small day."""

    def __init__(self) -> None:
        self._logged_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _SECONDS_BETWEEN_LINES:
            self._logged_at = now
            log.info("scored %s of %s rows", f"{done:,}", f"{total:,}")


def score_request(context: RunContext) -> ScoreRequest:
    """The request to score the day, after its checks: the day gate, the volume, and leaks."""
    return _request(context)[0]


def _request(context: RunContext) -> tuple[ScoreRequest, str]:
    """As `score_request`, and what is to be said about a version that was withdrawn."""
    from tallywright.scoring.prepare import ScoreRequest, check_volume
    from tallywright.scoring.roles.eligibility import check_leak

    spec, lake, options = context.spec, context.lake, context.options
    source = input_version(lake, spec, context.day)
    require_day_passed(lake, spec, source)
    check_volume(lake, spec, source)
    found = _models_of_day(context, source, rescore=options.rescore or options.force)
    if found.note:
        log.warning("%s: %s", context.day, found.note)
    check_leak(spec, found.models, context.day)
    request = ScoreRequest(
        spec=found.spec_of_day(spec),
        lake=lake,
        input=source,
        models=found.models,
        packages={},
        run_id=context.run_id,
        code_version=context.code_version,
        engine=spec.scoring.engine,
        engines=context.engines,
        engine_settings=context.project.environment.engine,
        force=options.force,
        promotion_sequence=found.promotion_sequence,
        sequence_behind=found.resolution.sequence_behind,
        withdrawn_since=partial(withdrawn_since, lake, spec, found.models, found.promotion_sequence),
        passed_over=found.passed_over,
        override=options.reason.strip() if options.force else "",
        origins=_origins(context, found.models),
    )
    return request, found.note


def _origins(context: RunContext, models: Sequence[ModelRef]) -> tuple[VersionOrigin, ...]:
    """The numbers of the models where they were trained; with one registry there are none."""
    if context.project.environment.registries.training is None:
        return ()
    from tallywright.registry.numbers import origins_of

    return origins_of(context.lake, context.spec, models)


def profile(context: RunContext) -> dict[str, Any]:
    """Writes the profile of the day's tally if its row is missing, as after a crash."""
    tally, row = _profiled(context)
    return {"generation": tally.manifest.generation, "rows": row.profile.rows}


def drift(context: RunContext) -> dict[str, Any]:
    """Compares the profile of the day's tally with the training reference of the champion that scored it."""
    tally, row = _profiled(context)
    return compare(context, tally.manifest, row)


def compare(context: RunContext, manifest: Manifest, row: ProfileRow) -> dict[str, Any]:
    """Compares the profile of a tally with the training reference of the champion that scored it.

    A day that a fallback scored is not compared: its figures would be of another model than the policy follows.
    """
    from tallywright.monitoring.drift import compare_day, drift_of, write_drift
    from tallywright.scoring.commit.profile_table import profile_of_date

    champion = manifest.primary
    if champion.role is not Role.CHAMPION:
        log.warning("%s is not compared: the %s answered for it", context.day, champion.role.value)
        return {"signals": 0, "violated": [], "note": f"the {champion.role.value} answered for the day"}
    try:
        package = context.shared.packages.of(context.project, champion)
    except (PackageError, TrackingError) as error:
        rows = drift_of(context.lake, context.spec, manifest)
        if not rows:
            raise
        log.warning("the drift of %s stands as it was compared before: %s", context.day, error.found)
        return {"signals": len(rows), "violated": sorted({one.column_name for one in rows if one.violated})}
    found, since = profile_of_date(context.lake, context.spec, row)
    signals = compare_day(context.spec, package, manifest, found)
    write_drift(context.lake, context.spec, manifest, signals, since=since)
    violated = sorted({signal.column for signal in signals if signal.violated})
    log.info("drift of %s: %d comparisons, %s", context.day, len(signals), ", ".join(violated) or "none violated")
    latest = generation_of(context.lake, context.spec, manifest.score_date)
    note = f"generation {latest} stands; nothing was written about generation {manifest.generation}"
    return {"signals": len(signals), "violated": violated} | ({"note": note} if latest > manifest.generation else {})


def _profiled(context: RunContext) -> tuple[Tally, ProfileRow]:
    from tallywright.scoring.day import ensure_profile

    return ensure_profile(context.lake, context.spec, context.day, partial(context.shared.packages.of, context.project))
