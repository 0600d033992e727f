"""What a spec says against the model that is in production, as far as this machine can know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.observability import log

if TYPE_CHECKING:
    from tallywright.spec import Project


def champion_problems(project: Project) -> list[str]:
    """The values of the spec that the present champion contradicts; none where lake or registry cannot be asked."""
    spec = project.spec
    if not spec.training.kind.thresholds or "threshold" not in spec.scoring.model_fields_set:
        return []
    from tallywright.data.delta.lake import Lake
    from tallywright.lifecycle.context import package_of
    from tallywright.registry.promotion_log import PromotionLog, champion_on
    from tallywright.registry.resolve import as_ref
    from tallywright.scoring.roles.threshold import threshold_problem

    try:
        entry = champion_on(PromotionLog(Lake.of(project.environment), spec).entries(), None)
        if entry is None:
            return []
        problem = threshold_problem(spec, package_of(project, as_ref(entry, spec)))
    except TallyError as error:
        log.info("scoring.threshold is not compared with the champion's: %s", error.found)
        return []
    remedy = f"train a model with it, `tally train {spec.name}`, or take the key out"
    return [f"{problem} (version {entry.model_version}); {remedy}"] if problem else []
