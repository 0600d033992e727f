"""What a spec demands of a version before it may be promoted: by which gates, and by whose approval.

That is what stood in the files when the version was trained. It is kept in the package, and nothing that is said later
asks for less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.records import Record, digest_of
from tallywright.spec.sections import Gates, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.spec import Project
    from tallywright.spec.model import ModelSpec

_MORE_IS_STRICTER: Final = frozenset({"min_gain", "confidence", "bootstrap", "min_holdout_rows"})
_LESS_IS_STRICTER: Final = frozenset({"max_calibration_error", "max_latency_ms_per_1000"})


class Demands(Record):
    """The demands on a version.

    `spec` is the digest of the spec in the files, without `--set`. A `--set` that asked for more is in `gates` and
    `registry`, and one that asked for less is not.
    """

    format: int = 1
    spec: str
    gates: Gates
    registry: Registry


def demands_of(project: Project) -> Demands:
    """The demands on a version that is trained now."""
    given, committed = project.spec, project.committed
    gates = committed.gates if any(weaker(given.gates, committed.gates)) else given.gates
    return Demands(
        spec=digest_of(committed.model_dump(mode="json")),
        gates=gates,
        registry=_stricter(given.registry, committed.registry),
    )


def weaker(gates: Gates, than: Gates) -> Iterator[str]:
    """Yields the fields in which gates ask for less than others, or for something else."""
    for name in Gates.model_fields:
        mine, its = getattr(gates, name), getattr(than, name)
        if name == "floors":
            yield from (f"floors.{metric}" for metric, bound in its.items() if _allows_more(mine.get(metric), bound))
        elif mine < its if name in _MORE_IS_STRICTER else mine > its if name in _LESS_IS_STRICTER else mine != its:
            yield name


def _allows_more(bound: Any, than: Any) -> bool:
    """True when a bound lets a value pass that another one stops."""
    least, most = (None, None) if bound is None else (bound.min, bound.max)
    return (than.min is not None and (least is None or least < than.min)) or (
        than.max is not None and (most is None or most > than.max)
    )


def _stricter(given: Registry, committed: Registry) -> Registry:
    """The section of the files; with a person, where a `--set` alone wants one."""
    if committed.approval == "person" or given.approval != "person":
        return committed
    return committed.model_copy(update={"approval": "person", "approvers": given.approvers})


def committed_demands(spec: ModelSpec) -> Demands:
    """The demands on a version whose package holds none: those of the spec as the files have it today."""
    return Demands(spec="", gates=spec.gates, registry=spec.registry)
