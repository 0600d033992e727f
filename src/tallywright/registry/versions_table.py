"""The table `<model>__versions`: registered versions, so that scoring finds them without asking MLflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.records import GateReport, ModelRef, Promotion, Record, Verdict
from tallywright.registry.promotion_log import champion_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

_GATES: Final = frozenset({"quality", "operations"})


class VersionRow(Record):
    """One registered version; `gates_passed` says that its rows may be served before it is champion."""

    model: str
    model_version: int
    package_digest: str
    trained_through: date | None
    gates_passed: bool
    recorded_at: datetime
    run_id: str = ""
    """MLflow's id of the training run; empty, as the next two, in rows of before they were recorded."""
    metrics_json: str = ""
    """The model's metrics on its holdout, by name."""
    reason: str = ""
    """Why it was trained, where somebody said so."""


VERSIONS: Final = Declaration(
    what="versions",
    record=VersionRow,
    key=("model_version",),
    slice=("model_version",),
    kind=Kind.SLICE,
    doc="the registered versions, so that scoring finds one without asking MLflow",
)


@dataclass(frozen=True, slots=True)
class TrainedBy:
    """The training that made a version: MLflow's run id, metrics on the holdout by name, and why it was trained."""

    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def record_version(
    lake: Lake,
    spec: ModelSpec,
    ref: ModelRef,
    reports: Sequence[GateReport],
    *,
    recorded_at: datetime,
    trained_by: TrainedBy = TrainedBy(),
) -> bool:
    """Writes the version's row unless an equal one is there; returns True when it wrote.

    Args:
        lake: Where the table stands.
        spec: Whose versions.
        ref: The version as the registry has it.
        reports: The newest report of each gate about it.
        recorded_at: The wall clock of the recording.
        trained_by: The training that made it.
    """
    verdicts = {report.gate: report.verdict for report in reports}
    passed = verdicts.keys() >= _GATES and Verdict.FAIL not in verdicts.values()
    row = VersionRow(
        model=spec.name,
        model_version=ref.version,
        package_digest=ref.digest,
        trained_through=ref.trained_through,
        gates_passed=passed,
        recorded_at=recorded_at.astimezone(UTC),
        run_id=trained_by.run_id,
        metrics_json=json.dumps(dict(trained_by.metrics), sort_keys=True) if trained_by.metrics else "",
        reason=trained_by.reason,
    )
    known = recorded_versions(lake, spec).get(ref.version)
    if known is not None and known.model_copy(update={"recorded_at": row.recorded_at}) == row:
        return False
    Table(VERSIONS, lake, spec).replace([row])
    return True


def recorded_versions(lake: Lake, spec: ModelSpec) -> dict[int, VersionRow]:
    """The registered versions by number, as far as this lake has recorded them."""
    return {row.model_version: row for row in Table(VERSIONS, lake, spec).read()}


def known_versions(lake: Lake, spec: ModelSpec, entries: Iterable[Promotion]) -> dict[int, VersionRow]:
    """The versions by number, as recorded or, in lakes of before, as the promotion log (`entries`) names them."""
    return promoted_versions(spec, entries) | recorded_versions(lake, spec)


def promoted_versions(spec: ModelSpec, entries: Iterable[Promotion]) -> dict[int, VersionRow]:
    """The versions by number that entries of the promotion log made champion: their gates have passed."""
    return {
        entry.model_version: VersionRow(
            model=spec.name,
            model_version=entry.model_version,
            package_digest=entry.package_digest,
            trained_through=entry.trained_through,
            gates_passed=True,
            recorded_at=entry.recorded_at,
        )
        for entry in champion_lines(entries)
    }
