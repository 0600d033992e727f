"""The first half of the score pipeline: the day's input, its gate, its models, its tally."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.etl.ingest import ingest as ingest_days
from tallywright.data.etl.ingest import input_version
from tallywright.errors import GateRefusedError
from tallywright.gates.record import record_report, require_day_passed
from tallywright.lifecycle.packages import packages_of
from tallywright.observability import log
from tallywright.records import GateReport, ModelRef, Verdict
from tallywright.registry.resolve import resolve as resolve_models
from tallywright.scoring.day import score_day
from tallywright.scoring.preflight import check_leak, check_volume
from tallywright.scoring.request import ScoreRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.lifecycle.context import RunContext


_SECONDS_BETWEEN_LINES: Final = 5.0


def ingest(context: RunContext) -> dict[str, Any]:
    """Raw files to features and labels of the day; equal content makes no commit."""
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


def resolve(context: RunContext) -> dict[str, Any]:
    """Decides once for this run which model versions score the day, and keeps that for the score step."""
    models = resolve_models(context.lake, context.spec, context.day)
    check_leak(context.spec, models, context.day)
    text = "\n".join(model.to_json() for model in models)
    _models_file(context).write_text(text + "\n", encoding="utf-8")
    return {"models": [model.model_dump(mode="json") for model in models]}


def score(context: RunContext) -> dict[str, Any]:
    """Scores the day into one commit; a repeat with the same inputs commits nothing."""
    outcome = score_day(score_request(context), progress=_Progress())
    manifest = outcome.manifest
    return {
        "action": outcome.action,
        "version": outcome.version,
        "generation": manifest.generation,
        "reason": manifest.reason,
        "rows": manifest.rows,
        "models": [f"{model.role.value}: version {model.version}" for model in manifest.models],
        "rows_by_role": manifest.rows_by_role,
        "left_out": [f"{one.role.value} {one.version}: {one.note}" for one in manifest.roles if one.note],
    }


class _Progress:
    """Says how far scoring has come, every few seconds: a small day says nothing."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            log.info("scored %s of %s rows", f"{done:,}", f"{total:,}")


def score_request(context: RunContext) -> ScoreRequest:
    """All that scoring the day needs, checked: the input passed its gate, has its rows, and no model leaks."""
    spec, lake = context.spec, context.lake
    source = input_version(lake, spec, context.day)
    require_day_passed(lake, spec, source)
    check_volume(lake, spec, source)
    models = _resolved(context)
    check_leak(spec, models, context.day)
    packages, missing = packages_of(context.project, models)
    return ScoreRequest(
        spec=spec,
        lake=lake,
        input=source,
        models=models,
        packages=packages,
        missing=missing,
        run_id=context.run_id,
        code_version=context.code_version,
        engine=spec.scoring.engine,
        engines=context.engines,
        engine_settings=context.project.environment.engine,
        force=context.options.force,
    )


def _resolved(context: RunContext) -> tuple[ModelRef, ...]:
    file = _models_file(context)
    if file.is_file():
        return tuple(ModelRef.from_json(line) for line in file.read_text(encoding="utf-8").splitlines())
    return resolve_models(context.lake, context.spec, context.day)


def _models_file(context: RunContext) -> Path:
    return context.folder / f"models-{context.day}.jsonl"
