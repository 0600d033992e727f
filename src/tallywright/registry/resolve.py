"""Which model version scores a date: read from the promotion log alone, so that scoring needs no MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import NoChampionError
from tallywright.records import ModelRef, Promotion, Role
from tallywright.registry import timeline
from tallywright.registry.assistants import assistants
from tallywright.registry.promotion_log import PromotionLog

if TYPE_CHECKING:
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec


def resolve(lake: Lake, spec: ModelSpec, day: date) -> tuple[ModelRef, ...]:
    """The models of `day`, the champion first: as-of, current or one pinned version; then the spec's other roles.

    Raises:
        NoChampionError: Nobody was in production on that date, or the pinned version never was.
        SpecError: The spec names a version that was never registered, or that may not be served.
    """
    entries = PromotionLog(lake, spec).entries()
    choice = spec.scoring.models
    line: Promotion | None
    if choice.startswith("pinned:"):
        line = _pinned(entries, int(choice.removeprefix("pinned:")), spec)
    elif choice == "current":
        line = timeline.champion_on(entries, None)
    else:
        line = timeline.champion_on(entries, day)
    if line is None:
        raise _nobody(entries, spec, day)
    return (as_ref(line, spec), *assistants(lake, spec, entries, day))


def as_ref(line: Promotion, spec: ModelSpec, role: Role = Role.CHAMPION) -> ModelRef:
    """A line of the promotion log as a reference to its model version."""
    return ModelRef(
        name=spec.registered_name,
        version=line.model_version,
        digest=line.package_digest,
        role=role,
        effective_from=line.effective_from,
        trained_through=line.trained_through,
    )


def _pinned(entries: list[Promotion], version: int, spec: ModelSpec) -> Promotion:
    lines = [line for line in entries if line.model_version == version]
    if lines:
        return lines[-1]
    known = sorted({line.model_version for line in entries})
    raise NoChampionError(
        f"scoring.models pins version {version} of {spec.registered_name}, which was never in production",
        expected=f"one of the versions promoted so far: {', '.join(map(str, known)) or 'none yet'}",
        remedy=f"promote it first, `tally promote {spec.name} --version {version}`, or pin another version",
    )


def _nobody(entries: list[Promotion], spec: ModelSpec, day: date) -> NoChampionError:
    first = min((line.effective_from for line in entries), default=None)
    if first is None:
        return NoChampionError(
            f"no model of {spec.name} was ever promoted, so nobody can score {day}",
            expected="a champion whose effective date is not after the score date",
            remedy=f"train and promote one: trigger the DAG {spec.name}__train, or `tally promote {spec.name}`",
        )
    return NoChampionError(
        f"{spec.name} has no champion on {day}: the first one is effective from {first}",
        expected=f"a score date from {first} on",
        remedy=f"choose a later date, or promote a model with an effective date not after {day}",
    )
