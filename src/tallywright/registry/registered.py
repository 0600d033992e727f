"""The table `<model>__versions`: what was registered, so that scoring finds a candidate without asking MLflow."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from tallywright.records import GateReport, ModelRef, Record, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

SCHEMA: Final = pa.schema(
    [
        pa.field("model", pa.string()),
        pa.field("model_version", pa.int64()),
        pa.field("package_digest", pa.string()),
        pa.field("trained_through", pa.date32()),
        pa.field("gates_passed", pa.bool_()),
        pa.field("recorded_at", pa.timestamp("us", tz="UTC")),
    ]
)

_TABLE: Final = "versions"
_GATES: Final = frozenset({"quality", "operations"})


class Registered(Record):
    """One registered version; `gates_passed` says that its rows may be served before it is champion."""

    model: str
    model_version: int
    package_digest: str
    trained_through: date | None
    gates_passed: bool
    recorded_at: datetime


def record_version(
    lake: Lake, spec: ModelSpec, ref: ModelRef, reports: Sequence[GateReport], *, recorded_at: datetime
) -> bool:
    """Writes the version's row unless it says the same already; tells whether it wrote.

    Args:
        lake: Where the table stands.
        spec: Whose versions.
        ref: The version as the registry has it.
        reports: The newest report of each gate about it.
        recorded_at: The wall clock of the recording.
    """
    verdicts = {report.gate: report.verdict for report in reports}
    passed = verdicts.keys() >= _GATES and Verdict.FAIL not in verdicts.values()
    row = Registered(
        model=spec.name,
        model_version=ref.version,
        package_digest=ref.digest,
        trained_through=ref.trained_through,
        gates_passed=passed,
        recorded_at=recorded_at.astimezone(UTC),
    )
    known = registered(lake, spec).get(ref.version)
    if known is not None and known.model_copy(update={"recorded_at": row.recorded_at}) == row:
        return False
    data = pa.Table.from_pylist([row.model_dump()], schema=SCHEMA)
    lake.replace(spec.table(_TABLE), data, slice={"model_version": ref.version})
    return True


def registered(lake: Lake, spec: ModelSpec) -> dict[int, Registered]:
    """The registered versions by number, as far as this lake has recorded them."""
    table = spec.table(_TABLE)
    if not lake.exists(table):
        return {}
    rows = lake.read(table, columns=SCHEMA.names).to_pylist()
    return {row["model_version"]: Registered(**row) for row in rows}
