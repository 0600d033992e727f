"""The table `<model>__versions`: registered versions, so that scoring finds them without asking MLflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.table import Declaration, Kind, Table
from tallywright.errors import UsageError
from tallywright.records import ModelRef, Promotion, Record, Role, VersionOrigin, VersionVerdict
from tallywright.registry.promotion_log import champion_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallywright.data.delta.lake import Lake
    from tallywright.registry.evidence import Evidence
    from tallywright.spec import ModelSpec


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
    author: str = ""
    """Who started the training, as Airflow or the system knows them; empty in rows of before."""
    recorded_by: str = ""
    """The system user whose process registered it; empty in rows of before."""
    verdict: str = ""
    """`passed`, `undecided` or `refused`; empty, as the next two, in rows of before."""
    judged_digest: str = ""
    """The package that was judged on the holdout; the version's own where nothing was refitted."""
    evidence_json: str = ""
    """The evidence of the version, as it was when it was registered."""
    code_version: str = ""
    """The code that trained it; empty, as the next, in rows of before it was recorded: the package has both."""
    snapshot_json: str = ""
    """The data that it was trained on, as its package has them."""
    source: str = ""
    """The environment from whose registry it was copied; empty, as the next, where it was registered here."""
    source_version: int | None = None
    """Its number there."""

    @property
    def origin(self) -> VersionOrigin | None:
        """Where it was registered first, and by which number; None where that was here."""
        if self.source_version is None:
            return None
        return VersionOrigin(digest=self.package_digest, registry=self.source, version=self.source_version)

    def as_ref(self, spec: ModelSpec, role: Role = Role.CHAMPION) -> ModelRef:
        """The version as a reference, as the lake has recorded it."""
        return ModelRef(
            name=spec.registered_name,
            version=self.model_version,
            digest=self.package_digest,
            role=role,
            trained_through=self.trained_through,
        )

    @property
    def judged_against(self) -> str:
        """The digest of the champion that its evidence is about, or that there was none; empty where nothing tells."""
        try:
            return str(json.loads(self.evidence_json or "{}").get("champion_digest", ""))
        except ValueError:
            return ""

    @property
    def refused(self) -> bool:
        """True when a gate refused it; rows of before were written only where none had."""
        return self.verdict == VersionVerdict.REFUSED


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
    """The training that made a version.

    MLflow's run id, metrics on the holdout by name, why it was trained, who started it, by which code, on which data;
    and where it was registered first, where that was in another registry.
    """

    run_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    author: str = ""
    recorded_by: str = ""
    code_version: str = ""
    snapshot_json: str = ""
    origin: VersionOrigin | None = None


def record_version(
    lake: Lake,
    spec: ModelSpec,
    ref: ModelRef,
    evidence: Evidence,
    *,
    recorded_at: datetime,
    trained_by: TrainedBy = TrainedBy(),
) -> bool:
    """Writes the version's row unless an equal one is there; returns True when it wrote.

    Args:
        lake: Where the table stands.
        spec: Whose versions.
        ref: The version as the registry has it.
        evidence: What the gates found.
        recorded_at: The wall clock of the recording.
        trained_by: The training that made it.
    """
    row = VersionRow(
        model=spec.name,
        model_version=ref.version,
        package_digest=ref.digest,
        trained_through=ref.trained_through,
        gates_passed=evidence.verdict is VersionVerdict.PASSED,
        recorded_at=recorded_at.astimezone(UTC),
        run_id=trained_by.run_id,
        metrics_json=json.dumps(dict(trained_by.metrics), sort_keys=True) if trained_by.metrics else "",
        reason=trained_by.reason,
        author=trained_by.author,
        recorded_by=trained_by.recorded_by,
        verdict=evidence.verdict,
        judged_digest=evidence.judged_digest,
        evidence_json=evidence.to_json(),
        code_version=trained_by.code_version,
        snapshot_json=trained_by.snapshot_json,
        source="" if trained_by.origin is None else trained_by.origin.registry,
        source_version=None if trained_by.origin is None else trained_by.origin.version,
    )
    known = recorded_versions(lake, spec).get(ref.version)
    if known is not None and known.author:
        # Whoever registers it once more has not trained it.
        row = row.model_copy(update={"author": known.author, "recorded_by": known.recorded_by})
    if known is not None and known.source:
        row = row.model_copy(update={"source": known.source, "source_version": known.source_version})
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


def no_such_version(found: str, known: Iterable[int], spec: ModelSpec) -> UsageError:
    """The error about a version that this lake does not know, with the numbers of those that it does."""
    return UsageError(
        found,
        expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}",
        remedy=f"`tally versions {spec.name}` lists them",
    )


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
