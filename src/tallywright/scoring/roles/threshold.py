"""The decision threshold of a day: the champion's, fixed when it was trained; the spec's for a package of before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import SpecError
from tallywright.records import Role

if TYPE_CHECKING:
    from tallywright.packaging.package import Package
    from tallywright.scoring.roles.eligibility import ModelSet
    from tallywright.spec.model import ModelSpec


def threshold_problem(spec: ModelSpec, champion: Package) -> str:
    """Describes a threshold that the spec gives and the champion was not trained with; empty where they agree."""
    fixed, given = champion.postprocess.threshold, spec.scoring.threshold
    if fixed is None or fixed == given or "threshold" not in spec.scoring.model_fields_set:
        return ""
    return f"scoring.threshold is {given:g}, and the champion was trained with {fixed:g}"


def with_threshold(spec: ModelSpec, model_set: ModelSet) -> ModelSpec:
    """The spec with the threshold by which the day is scored, which is a part of the tally's identity.

    Raises:
        SpecError: The spec gives another one than the champion was trained with.
    """
    primary = model_set.models[0]
    if primary.is_constant:
        return spec
    package = model_set.packages[primary.digest]
    problem = threshold_problem(spec, package) if primary.role is Role.CHAMPION else ""
    if problem:
        raise SpecError(
            f"{problem} (version {primary.version})",
            expected="one decision threshold: fixed at training, used by gates, scoring and monitoring alike",
            remedy=f"train a model with it, `tally train {spec.name}`, or take scoring.threshold out of the spec",
        )
    fixed = package.threshold(spec.scoring.threshold)
    if fixed == spec.scoring.threshold:
        return spec
    return spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"threshold": fixed})})
