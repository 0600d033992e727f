"""From one score back to everything it came from: tally, input, model, training run, data, code, gates, approver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tallywright.data.lake import Lake
from tallywright.errors import InputError, TallyError
from tallywright.gates.record import reports
from tallywright.lifecycle.packages import package_of
from tallywright.registry.promotion_log import PromotionLog
from tallywright.scoring.tallies import latest_manifest

if TYPE_CHECKING:
    from datetime import date

    from tallywright.packaging.package import Package
    from tallywright.records import Manifest, ModelRef, Promotion
    from tallywright.spec import ModelSpec, Project


def trace(project: Project, key: str, day: date) -> dict[str, Any]:
    """Everything behind the score of one key on one date.

    Args:
        project: The model project.
        key: The key's value; several key columns are joined by `/` in the spec's order.
        day: The score date.

    Raises:
        InputError: No such score, or a day without a tally.
    """
    lake, spec = Lake.of(project.environment), project.spec
    manifest = latest_manifest(lake, spec, day)
    if manifest is None:
        raise InputError(f"{spec.name} has no tally of {day}", remedy=f"tally days {spec.name} lists the scored days")
    row = _score_row(lake, spec, key, day)
    ref = next((model for model in manifest.models if model.version == row["model_version"]), manifest.models[0])
    package = package_of(project, ref)
    return {
        "score": row,
        "tally": _tally(manifest),
        "input": manifest.input.model_dump(mode="json"),
        "model": _model(ref, package),
        "training": _training(package),
        "gates": _gates(lake, spec, package.digest),
        "day gate": _day_gate(lake, spec, manifest),
        "promotion": _promotion(lake, spec, day),
    }


def _score_row(lake: Lake, spec: ModelSpec, key: str, day: date) -> dict[str, Any]:
    parts = key.split("/") if len(spec.data.key) > 1 else [key]
    if len(parts) != len(spec.data.key):
        raise InputError(f"key {key!r} has {len(parts)} parts", expected=f"{'/'.join(spec.data.key)}")
    where: dict[str, Any] = {"score_date": day, **dict(zip(spec.data.key, parts, strict=True))}
    found = lake.read(spec.table("scores"), where=where).to_pylist()
    if not found:
        raise InputError(
            f"no score of {key!r} on {day}",
            expected=f"a value of {', '.join(spec.data.key)} in {spec.table('scores')}",
            remedy=f"see the keys of that day with `tally query`, in {spec.table('scores')}",
        )
    row: dict[str, Any] = found[0]
    return row


def _tally(manifest: Manifest) -> dict[str, Any]:
    names = ("generation", "reason", "rows", "engine", "run_id", "code_version", "committed_at", "key_digest")
    return {name: getattr(manifest, name) for name in names}


def _model(ref: ModelRef, package: Package) -> dict[str, Any]:
    return {"name": ref.name, "version": ref.version, "role": ref.role.value, "digest": package.digest,
            "trained_through": package.meta.trained_through}  # fmt: skip


def _training(package: Package) -> dict[str, Any]:
    snapshot = json.loads(package.meta.snapshot_json)
    return {
        "run id": package.meta.run_id,
        "data": {"features": snapshot["features"], "labels": snapshot["labels"],
                 "from": snapshot["train_from"], "to": snapshot["holdout_to"]},
        "code": package.meta.code_version,
        "holdout": package.meta.evaluation.get("holdout") or package.meta.evaluation,
    }  # fmt: skip


def _gates(lake: Lake, spec: ModelSpec, digest: str) -> list[dict[str, Any]]:
    return [
        {"gate": report.gate, "check": check.name, "verdict": check.verdict.value, "observed": check.observed,
         "bound": check.bound}
        for report in reports(lake, spec, subject=digest)
        for check in report.checks
    ]  # fmt: skip


def _day_gate(lake: Lake, spec: ModelSpec, manifest: Manifest) -> list[dict[str, Any]]:
    subject = f"{manifest.score_date}@{manifest.input.fingerprint}"
    return [
        {"subject": str(manifest.score_date), "verdict": report.verdict.value, "checks": len(report.checks)}
        for report in reports(lake, spec, subject=subject)
    ]


def _promotion(lake: Lake, spec: ModelSpec, day: date) -> dict[str, Any]:
    try:
        found: Promotion | None = PromotionLog(lake, spec).champion_on(day)
    except TallyError:
        return {}
    return {} if found is None else found.model_dump(mode="json", exclude={"decision_json", "model"})
