"""What a spec demands of a version before it may be promoted: by which gates, and by whose approval.

That is what stood in the files when the version was trained. It is kept in the package, and nothing that is said later
asks for less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.records import Record, digest_of
from tallywright.spec.sections import Gates, LatencyBounds, Percentiles, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.spec import Project
    from tallywright.spec.model import ModelSpec
    from tallywright.spec.rollout import Rollout

_MORE_IS_STRICTER: Final = frozenset({"min_gain", "confidence", "min_holdout_rows"})
_LESS_IS_STRICTER: Final = frozenset(
    {"margin", "yearly_level", "max_calibration_error", "max_latency_ms_per_1000", "max_memory_mb"}
)
_UNUSED: Final = frozenset({"bootstrap"})
"""Fields of before, by which nothing is judged any more."""
_WORDS: Final = {"card"}
"""What people say of the model: no demand, and in no digest."""


class Demands(Record):
    """The demands on a version.

    `spec` is the digest of the spec in the files, without `--set` and the words of its card. A `--set` that asked for
    more is in `gates` and `registry`, and one that asked for less is not.
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
        spec=digest_of(committed.model_dump(mode="json", exclude=_WORDS)),
        gates=gates,
        registry=_stricter(given.registry, committed.registry),
    )


def approval_sections(project: Project, demanded: Registry) -> tuple[Registry, Registry, Registry]:
    """The sections that say who approves of a version: its own demands, today's files, and what was given with them.

    What is said later may ask for more, never less: a person has to approve where one of them says so.
    """
    return demanded, project.committed.registry, project.spec.registry


def staged_rollout(project: Project) -> Rollout | None:
    """The stages through which a version becomes champion: those of the files, which a `--set` takes from nobody."""
    return project.committed.staged_rollout or project.spec.staged_rollout


def weaker(gates: Gates, than: Gates) -> Iterator[str]:
    """Yields the fields in which gates ask for less than others, or for something else."""
    for name in Gates.model_fields.keys() - _UNUSED:
        mine, its = getattr(gates, name), getattr(than, name)
        if name == "floors":
            yield from (f"floors.{metric}" for metric, bound in its.items() if _allows_more(mine.get(metric), bound))
        elif name == "max_latency_ms":
            yield from _slower(mine, its)
        elif mine < its if name in _MORE_IS_STRICTER else mine > its if name in _LESS_IS_STRICTER else mine != its:
            yield name


def _slower(bounds: LatencyBounds, than: LatencyBounds) -> Iterator[str]:
    """Yields the bounds on latency that are higher than others, or are not there."""
    for rows in LatencyBounds.model_fields:
        for percentile in Percentiles.model_fields:
            mine, its = (getattr(getattr(one, rows), percentile) for one in (bounds, than))
            if its is not None and (mine is None or mine > its):
                yield f"max_latency_ms.{rows}.{percentile}"


def _allows_more(bound: Any, than: Any) -> bool:
    """True when a bound lets a value pass that another one stops."""
    least, most = (None, None) if bound is None else (bound.min, bound.max)
    return (than.min is not None and (least is None or least < than.min)) or (
        than.max is not None and (most is None or most > than.max)
    )


def _stricter(given: Registry, committed: Registry) -> Registry:
    """The section of the files; with a person, and another one than the author, where a `--set` alone wants that."""
    asked: dict[str, Any] = {"author_may_approve": committed.author_may_approve and given.author_may_approve}
    if committed.approval != "person" and given.approval == "person":
        asked |= {"approval": "person", "approvers": given.approvers}
    return committed.model_copy(update=asked)


def committed_demands(spec: ModelSpec) -> Demands:
    """The demands on a version whose package holds none: those of the spec as the files have it today."""
    return Demands(spec="", gates=spec.gates, registry=spec.registry)
