"""Which versions score beside the champion of a date, or could stand in for it: canary, fallback and shadows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.errors import SpecError
from tallywright.records import ModelRef, Promotion, Role, digest_of
from tallywright.registry import timeline
from tallywright.registry.registered import Registered, registered
from tallywright.spec.roles import CHALLENGER, CONSTANT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec
    from tallywright.spec.roles import Version


def assistants(lake: Lake, spec: ModelSpec, entries: Sequence[Promotion], day: date) -> Iterator[ModelRef]:
    """The spec's canary, fallback and shadows as model versions; whether they may and can score is not asked here.

    Args:
        lake: Where the registered versions are recorded.
        spec: Whose roles.
        entries: The promotion log.
        day: The score date.

    Raises:
        SpecError: The spec names a version that was never registered, or a canary whose gates did not pass.
    """
    scoring = spec.scoring
    known = _known(lake, spec, entries) if scoring.canary or scoring.shadow else {}
    if scoring.canary is not None:
        ref = _version(spec, Role.CANARY, scoring.canary.model, known, entries)
        if ref is not None:
            yield ref
    if scoring.fallback is not None:
        ref = _fallback(spec, entries, day)
        if ref is not None:
            yield ref
    shadows = [_version(spec, Role.SHADOW, version, known, entries) for version in scoring.shadow]
    # `challenger` and a number may be the same version.
    yield from {ref.version: ref for ref in shadows if ref is not None}.values()


def _known(lake: Lake, spec: ModelSpec, entries: Sequence[Promotion]) -> dict[int, Registered]:
    promoted = {
        line.model_version: Registered(
            model=spec.name,
            model_version=line.model_version,
            package_digest=line.package_digest,
            trained_through=line.trained_through,
            gates_passed=True,
            recorded_at=line.recorded_at,
        )
        for line in entries
    }
    return registered(lake, spec) | promoted


def _version(
    spec: ModelSpec, role: Role, wanted: Version, known: Mapping[int, Registered], entries: Sequence[Promotion]
) -> ModelRef | None:
    """The version as a reference; None when there is no challenger at present."""
    if wanted == CHALLENGER:
        newest_promoted = max((line.model_version for line in entries), default=0)
        fit = [number for number, one in known.items() if one.gates_passed or role is Role.SHADOW]
        newest = max(fit, default=0)
        return _as_ref(spec, role, known[newest]) if newest > newest_promoted else None
    found = known.get(int(wanted))
    if found is None:
        raise SpecError(
            f"scoring.{role.value} names version {wanted} of {spec.registered_name}, which was never registered",
            expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}, or `{CHALLENGER}`",
            remedy=f"train and register it first: trigger the DAG {spec.name}__train",
        )
    if role is Role.CANARY and not found.gates_passed:
        raise SpecError(
            f"scoring.canary names version {wanted} of {spec.registered_name}, whose gates did not pass",
            expected="a version that passed the quality and the operations gate, for its rows are served",
            remedy="let it score as a shadow, or train a better one",
        )
    return _as_ref(spec, role, found)


def _as_ref(spec: ModelSpec, role: Role, found: Registered) -> ModelRef:
    return ModelRef(
        name=spec.registered_name,
        version=found.model_version,
        digest=found.package_digest,
        role=role,
        trained_through=found.trained_through,
    )


def _fallback(spec: ModelSpec, entries: Sequence[Promotion], day: date) -> ModelRef | None:
    """The constant, or the champion that a rollback would bring back; None where nobody was champion before."""
    fallback = spec.scoring.fallback
    if fallback is None:
        return None
    if fallback.model == CONSTANT:
        digest = digest_of(["constant", fallback.constant])
        return ModelRef(name=spec.registered_name, version=0, digest=digest, role=Role.FALLBACK)
    line = timeline.previous(entries, None if spec.scoring.models == "current" else day)
    if line is None:
        return None
    return ModelRef(
        name=spec.registered_name,
        version=line.model_version,
        digest=line.package_digest,
        role=Role.FALLBACK,
        effective_from=line.effective_from,
        trained_through=line.trained_through,
    )
