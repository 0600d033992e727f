"""Who would stand in for the candidate, and whether that works: the champion after a rollback, the spec's fallback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallywright.records import Check, Verdict
from tallywright.spec.sections import CONSTANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.packaging.package import Package
    from tallywright.records import ModelRef
    from tallywright.spec.sections import Fallback


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The champion that the candidate would replace, and the check of a rollback to it in a scratch registry."""

    ref: ModelRef
    package: Package
    rehearsal: Check


def rollback_checks(
    candidate: Package, champion: Incumbent | None, withdrawn: Sequence[int], observed: dict[str, Any]
) -> Iterator[Check]:
    """Yields whether a rollback has a model to go back to, which loads and scores, and how its rehearsal went."""
    bound = "the champion before, where there is one; it loads and scores"
    if champion is None:
        versions = f"version{'s' * (len(withdrawn) > 1)} {', '.join(map(str, withdrawn))}"
        why = f"no champion is left: {versions} withdrawn" if withdrawn else "first model"
        yield Check.of("rollback_target", True, "none", bound, why)
        return
    ref = champion.ref
    problem = _same(candidate, ref) or _problem(observed, "champion")
    evidence = problem or f"digest {ref.digest[:16]}, effective from {ref.effective_from}, scored its own sample"
    yield Check.of("rollback_target", not problem, f"version {ref.version}", bound, evidence)
    yield champion.rehearsal


def fallback_check(fallback: Fallback | None, champion: Incumbent | None, observed: dict[str, Any]) -> Check:
    """Whether what the spec names as fallback gives scores in the shape of the candidate's."""
    name, bound = "fallback_scores", "finite scores in the candidate's output schema"
    if fallback is None:
        return Check(name=name, verdict=Verdict.NOTE, observed="none", bound=bound, evidence="the spec names none")
    if fallback.model == CONSTANT:
        problem = _problem(observed, "constant", shape=True)
        return Check.of(name, not problem, f"the constant {fallback.constant:g}", bound, problem or "made into a row")
    if champion is None:
        why = "nobody was champion before: failures are covered from the next promotion on"
        return Check(name=name, verdict=Verdict.NOTE, observed="none", bound=bound, evidence=why)
    problem = _problem(observed, "champion", shape=True)
    return Check.of(name, not problem, f"version {champion.ref.version}", bound, problem or "scored its own sample")


def _same(candidate: Package, ref: ModelRef) -> str:
    return "it is the candidate itself" if ref.digest == candidate.digest else ""


def _problem(observed: dict[str, Any], who: str, *, shape: bool = False) -> str:
    """What is wrong with the scores of a stand-in; with `shape`, beside the candidate's too. Empty when nothing is."""
    errors, found = observed.get("errors", {}), observed.get(who)
    if found is None:
        return str(errors.get(who, "not tried: the candidate does not load"))
    if not found["rows"] or not found["finite"]:
        return "its scores are not finite, or outside of what the task allows"
    if shape and not found["same_schema"]:
        return "its outputs have other columns than the candidate's"
    return str(found.get("difference", "")) if shape else ""
