"""The second half of the score pipeline: the day's models and its tally."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from tallywright.data.etl.input_record import input_version
from tallywright.gates.record import require_day_passed
from tallywright.lifecycle.packages import packages_of
from tallywright.lifecycle.steps.monitor import compare
from tallywright.observability import log
from tallywright.records import ModelRef
from tallywright.registry.resolve import resolve as resolve_models
from tallywright.scoring.preflight import check_leak, check_volume

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.lifecycle.context import RunContext
    from tallywright.scoring.request import ScoreRequest


_SECONDS_BETWEEN_LINES: Final = 5.0


def resolve(context: RunContext) -> dict[str, Any]:
    """Decides once for this run which model versions score the day, and keeps that for the score step."""
    models = resolve_models(context.lake, context.spec, context.day)
    check_leak(context.spec, models, context.day)
    text = "\n".join(model.to_json() for model in models)
    _models_file(context).write_text(text + "\n", encoding="utf-8")
    return {"models": [model.model_dump(mode="json") for model in models]}


def score(context: RunContext) -> dict[str, Any]:
    """Scores the day into one commit, and compares its profile; a repeat with the same inputs commits nothing."""
    from tallywright.scoring.day import score_day

    outcome = score_day(score_request(context), progress=_Progress())
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
    } | compare(context, manifest, row)


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
    from tallywright.scoring.request import ScoreRequest

    spec, lake = context.spec, context.lake
    source = input_version(lake, spec, context.day)
    require_day_passed(lake, spec, source)
    check_volume(lake, spec, source)
    models = _resolved(context)
    check_leak(spec, models, context.day)
    packages, missing = packages_of(context.project, models, context.shared.packages)
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
