"""Traces a score to its tally, input, model, training run, data, code, gates and approver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from tallywright.data.delta.lake import Lake
from tallywright.data.keys import key_text, readings
from tallywright.data.types import arrow_type
from tallywright.errors import InputError
from tallywright.gates.record import reports, reports_of_version
from tallywright.lifecycle.context import package_of
from tallywright.records import Role
from tallywright.registry.promotion_log import PromotionLog, line_behind, sequence_behind, withdrawals
from tallywright.registry.stages import stage_on
from tallywright.registry.versions_table import recorded_versions
from tallywright.scoring.commit.manifests import latest_tally
from tallywright.scoring.commit.standing import integrity_error, require_standing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tallywright.data.delta.rows import Value
    from tallywright.packaging.package import Package
    from tallywright.records import Manifest, ModelRef
    from tallywright.spec import ModelSpec, Project

_HOW: Final = "write / inside a value as %2F and % as %25, or all of it as column=value column=value"
_CONSTANT: Final = "the constant that scoring.fallback declared; there is no model behind it"


def trace(project: Project, key: str, day: date) -> dict[str, Any]:
    """Collects everything behind the score of one key on one date.

    Args:
        project: The model project.
        key: The key's value; several key columns are joined by `/` in the spec's order. See `score_of`.
        day: The score date.

    Raises:
        InputError: No such score, or a day without a tally.
        IntegrityError: What stands there is not the tally.
    """
    lake, spec = Lake.of(project.environment), project.spec
    tally = latest_tally(lake, spec, day)
    if tally is None:
        raise InputError(f"{spec.name} has no tally of {day}", remedy=f"tally days {spec.name} lists the scored days")
    require_standing(lake, spec, tally)
    manifest, row = tally.manifest, score_of(lake, spec, key, day)
    ref = _ref(spec, manifest, row)
    found = {"score": row, "tally": _tally(manifest), "input": manifest.input.model_dump(mode="json")}
    if ref.is_constant:
        constant = {"name": ref.name, "version": ref.version, "role": ref.role.value, "note": _CONSTANT}
        return found | {"model": constant, "day gate": _day_gate(lake, spec, manifest)}
    package = package_of(project, ref)
    return found | {
        "model": _model(ref, package, manifest),
        "training": _training(package),
        "gates": _gates(lake, spec, package.digest),
        "day gate": _day_gate(lake, spec, manifest),
        "promotion": _promotion(lake, spec, ref, manifest),
        **_withdrawal(lake, spec, ref),
    }


def _ref(spec: ModelSpec, manifest: Manifest, row: dict[str, Any]) -> ModelRef:
    """The model of the row, by role and version: one version may have two roles.

    Raises:
        IntegrityError: The tally has no such model.
    """
    for ref in manifest.models:
        if (ref.role.value, ref.version) == (row["role"], row["model_version"]):
            return ref
    raise integrity_error(spec, manifest, f"a row is of {row['role']} {row['model_version']}, which it does not name")


def score_of(lake: Lake, spec: ModelSpec, key: str, day: date) -> dict[str, Any]:
    """The scored row of one key on one date.

    Args:
        lake: Holds the scores.
        spec: Says which columns the key has.
        key: As `data.keys` describes it; also unescaped, as long as only one key of the day is meant.
        day: The score date.

    Raises:
        InputError: A key with fewer parts, or of another type than the spec's, or without a score, or several keys.
    """
    names = spec.data.key
    meant = list(dict.fromkeys(readings(key, names)))
    if not meant:
        raise InputError(f"key {key!r} has {key.count('/') + 1} parts", expected="/".join(names), remedy=_HOW)
    rows: dict[tuple[Value, ...], dict[str, Any]] = {}
    for values in _typed(spec, key, meant):
        found = lake.read(spec.table("scores"), where={"score_date": day, **dict(zip(names, values, strict=True))})
        if found.num_rows:
            rows[values] = found.to_pylist()[0]
            if len(names) == 1 or key.count("/") < len(names):
                break  # the surest reading; those of a text with more parts than the key has are equally sure
    if len(rows) > 1:
        raise InputError(
            f"{key!r} may mean {len(rows)} keys of {day}", expected=" or ".join(map(key_text, rows)), remedy=_HOW
        )
    if not rows:
        raise InputError(
            f"no score of {key!r} on {day}",
            expected=f"a value of {', '.join(names)} in {spec.table('scores')}",
            remedy=f"see the keys of that day with `tally query`, in {spec.table('scores')}; {_HOW}",
        )
    return next(iter(rows.values()))


def _typed(spec: ModelSpec, key: str, meant: Sequence[tuple[str, ...]]) -> list[tuple[Value, ...]]:
    """The readings of a key in the types of its columns, without those that cannot be of these types.

    Raises:
        InputError: None can.
    """
    typed: dict[tuple[Value, ...], None] = {}
    problem: InputError | None = None
    for texts in meant:
        try:
            typed[tuple(_value(spec, name, text) for name, text in zip(spec.data.key, texts, strict=True))] = None
        except InputError as error:
            problem = problem or error
    if not typed and problem is not None:
        raise InputError(f"key {key!r} cannot be read", expected=problem.expected) from problem
    return list(typed)


def _value(spec: ModelSpec, column: str, text: str) -> Value:
    """Converts a text of a command line to the type of the key column; instants without a zone are UTC."""
    kind = arrow_type(spec.data.columns[column], f"data.columns.{column}")
    for form in (text, f"{text}Z") if pa.types.is_timestamp(kind) else (text,):
        try:
            value: Value = pa.scalar(form).cast(kind).as_py()
        except ValueError:  # Arrow's own, and that of a text that is none
            continue
        return value
    expected = f"a value of {column}, which is {spec.data.columns[column]}"
    raise InputError(f"{text!r} cannot be read", expected=expected)


def _tally(manifest: Manifest) -> dict[str, Any]:
    names = (
        "generation", "reason", "rows", "engine", "run_id", "code_version", "committed_at", "key_digest",
        "promotion_sequence",
    )  # fmt: skip
    found: dict[str, Any] = {name: getattr(manifest, name) for name in names}
    left_out = [f"{one.role.value} {one.version}: {one.note}" for one in manifest.roles if one.note]
    found |= {"rows by role": manifest.rows_by_role, "left out": left_out}
    return found | {f"{one.role.value} judged by": one.figures for one in manifest.roles if one.figures}


def _model(ref: ModelRef, package: Package, manifest: Manifest) -> dict[str, Any]:
    origin = next((f"{one}" for one in manifest.origins if one.digest == package.digest), "")
    return {"name": ref.name, "version": ref.version, "role": ref.role.value, "digest": package.digest,
            "trained_through": package.meta.trained_through} | ({"came from": origin} if origin else {})  # fmt: skip


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
    rows = recorded_versions(lake, spec).values()
    against = next((row.judged_against for row in rows if row.package_digest == digest), "")
    return [
        {"gate": report.gate, "check": check.name, "verdict": check.verdict.value, "observed": check.observed,
         "bound": check.bound}
        for report in reports_of_version(lake, spec, digest, against).values()
        for check in report.checks
    ]  # fmt: skip


def _day_gate(lake: Lake, spec: ModelSpec, manifest: Manifest) -> list[dict[str, Any]]:
    subject = f"{manifest.score_date}@{manifest.input.fingerprint}"
    return [
        {"subject": str(manifest.score_date), "verdict": report.verdict.value, "checks": len(report.checks)}
        for report in reports(lake, spec, subject=subject)
    ]


def _promotion(lake: Lake, spec: ModelSpec, ref: ModelRef, manifest: Manifest) -> dict[str, Any]:
    """The entry of the log by which the model scored the day, whatever was promoted since then."""
    entries = PromotionLog(lake, spec).entries()
    position = sequence_behind(entries, manifest)
    entry = line_behind(entries, ref, position)
    if entry is None and ref.role is Role.CANARY:
        known = [one for one in entries if position is None or one.sequence <= position]
        stage = stage_on(known, manifest.score_date)
        entry = stage if stage is not None and stage.model_version == ref.version else None
    return entry.model_dump(mode="json", exclude={"decision_json", "model"}) if entry is not None else {}


def _withdrawal(lake: Lake, spec: ModelSpec, ref: ModelRef) -> dict[str, Any]:
    """The entry of the log that has withdrawn the model since; nothing where none has."""
    entry = withdrawals(PromotionLog(lake, spec).entries()).get(ref.version)
    names = {"sequence", "recorded_at", "approver", "reason", "recorded_by"}
    return {} if entry is None else {"withdrawn": entry.model_dump(mode="json", include=names)}
