"""Resolves the model versions that score a date: the champion by the promotion log, and the spec's other roles.

MLflow is not asked: scoring needs the lake only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tallywright.errors import NoChampionError, SpecError
from tallywright.observability import log
from tallywright.records import ModelRef, Promotion, Role, digest_of
from tallywright.registry.promotion_log import (
    WITHDRAW,
    PromotionLog,
    champion_lines,
    champion_on,
    in_force,
    previous,
    sequence_behind,
    withdrawals,
)
from tallywright.registry.stages import stage_on, staged_scoring, terms_of
from tallywright.registry.versions_table import VersionRow, promoted_versions, recorded_versions
from tallywright.spec.sections import CHALLENGER, CONSTANT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Manifest
    from tallywright.spec import ModelSpec
    from tallywright.spec.sections import Scoring, Version


def _secondary_models(
    lake: Lake, spec: ModelSpec, entries: Sequence[Promotion], day: date, challenger: ModelRef | None
) -> Iterator[ModelRef]:
    """Yields the day's canary, fallback and shadows as model versions; `eligibility` checks whether they may score.

    Args:
        lake: Where the registered versions are recorded.
        spec: Whose roles.
        entries: The promotion log.
        day: The score date.
        challenger: By the log, the version whose stage is in force on the day; the others come from the spec.

    Raises:
        SpecError: The spec names a version that was never registered, or a canary whose gates did not pass.
    """
    scoring = spec.scoring
    known = _known(lake, spec, entries) if scoring.canary or scoring.shadow else {}
    if challenger is not None and challenger.role is Role.CANARY:
        yield challenger
    elif scoring.canary is not None:
        ref = _version(spec, Role.CANARY, scoring.canary.model, known, entries)
        if ref is not None:
            yield ref
    if scoring.fallback is not None:
        ref = _fallback(spec, entries, day)
        if ref is not None:
            yield ref
    shadows: list[ModelRef | None] = [challenger] if challenger is not None and challenger.role is Role.SHADOW else []
    shadows += [_version(spec, Role.SHADOW, version, known, entries) for version in scoring.shadow]
    # `challenger`, the version in a stage and a number may be the same version.
    yield from {ref.version: ref for ref in shadows if ref is not None}.values()


def _known(lake: Lake, spec: ModelSpec, entries: Sequence[Promotion]) -> dict[int, VersionRow]:
    return recorded_versions(lake, spec) | promoted_versions(spec, entries)


def _version(
    spec: ModelSpec, role: Role, wanted: Version, known: Mapping[int, VersionRow], entries: Sequence[Promotion]
) -> ModelRef | None:
    """The version as a reference; None when there is no challenger at present, and for a canary that was withdrawn."""
    gone = withdrawals(entries)
    if wanted == CHALLENGER:
        newest_promoted = max((entry.model_version for entry in champion_lines(entries)), default=0)
        fit = [
            number
            for number, one in known.items()
            if number not in gone and (one.gates_passed or (role is Role.SHADOW and not one.refused))
        ]
        newest = max(fit, default=0)
        return known[newest].as_ref(spec, role) if newest > newest_promoted else None
    found = known.get(int(wanted))
    if found is None:
        raise SpecError(
            f"scoring.{role.value} names version {wanted} of {spec.registered_name}, which was never registered",
            expected=f"one of {', '.join(map(str, sorted(known))) or 'none yet'}, or `{CHALLENGER}`",
            remedy=f"`tally versions {spec.name}` lists them; to make one: {_train(spec)}",
        )
    if role is Role.CANARY and not found.gates_passed:
        raise SpecError(
            f"scoring.canary names version {wanted} of {spec.registered_name}, whose gates did not pass",
            expected="a version that passed the quality and the operations gate, for its rows are served",
            remedy="let it score as a shadow, or train a better one",
        )
    if role is Role.CANARY and found.model_version in gone:
        log.warning("version %s was withdrawn and does not score as a canary", wanted)
        return None
    return found.as_ref(spec, role)


def _fallback(spec: ModelSpec, entries: Sequence[Promotion], day: date) -> ModelRef | None:
    """The constant, or the champion that a rollback would bring back; None where there was no champion before."""
    fallback = spec.scoring.fallback
    if fallback is None:
        return None
    if fallback.model == CONSTANT:
        digest = digest_of(["constant", fallback.constant])
        return ModelRef(name=spec.registered_name, version=0, digest=digest, role=Role.FALLBACK)
    entry = previous(entries, _asked(spec, day))
    if entry is None:
        return None
    return as_ref(entry, spec, Role.FALLBACK)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The models of a day, the champion first, and the promotion log that they were resolved from.

    `scoring` is the section of the spec as it is in force on the day: a stage has the canary's share and limits.
    """

    models: tuple[ModelRef, ...]
    entries: tuple[Promotion, ...]
    scoring: Scoring

    @property
    def promotion_sequence(self) -> int:
        """The position of the log: the newest sequence that was known."""
        return max((entry.sequence for entry in self.entries), default=0)

    def sequence_behind(self, manifest: Manifest) -> int | None:
        """The position at which a tally was resolved."""
        return sequence_behind(self.entries, manifest)


def resolve(lake: Lake, spec: ModelSpec, day: date) -> tuple[ModelRef, ...]:
    """As `resolution`, the models alone."""
    return resolution(lake, spec, day).models


def resolution(lake: Lake, spec: ModelSpec, day: date) -> Resolution:
    """Resolves the models of a day, the champion first (as-of, current or pinned), then the spec's other roles.

    Raises:
        NoChampionError: Nobody was in production on that date, or the pinned version never was.
        SpecError: The spec names a version that was never registered, or that may not be served.
    """
    return _resolved(lake, spec, day, PromotionLog(lake, spec).entries())


@dataclass(frozen=True, slots=True)
class Unwithdrawn:
    """The models that would score a day had no version been withdrawn after a position of the log.

    `withdrawn` are the later withdrawals of some of them, by version; where there are none, the models are those of
    `resolution`. `gone` are all withdrawals that hold on the day.
    """

    resolution: Resolution
    withdrawn: Mapping[int, Promotion]
    gone: Mapping[int, Promotion]


def before_withdrawals(lake: Lake, spec: ModelSpec, day: date, known: Manifest | None = None) -> Unwithdrawn:
    """The models of a day as if the withdrawals that a tally did not know had not been.

    Args:
        lake: Where the log is.
        spec: Whose day.
        day: The score date.
        known: The tally; without one, as if none had been.

    Raises:
        NoChampionError: As `resolution`.
        SpecError: As `resolution`.
    """
    entries = PromotionLog(lake, spec).entries()
    gone = withdrawals(in_force(entries, _asked(spec, day)))
    position = 0 if known is None else sequence_behind(entries, known) or 0
    later = {version: entry for version, entry in gone.items() if entry.sequence > position}
    if not later:
        return Unwithdrawn(_resolved(lake, spec, day, entries), {}, gone)
    then = [entry for entry in entries if entry.action != WITHDRAW or entry.sequence <= position]
    before = _resolved(lake, spec, day, then)
    models = before.models
    found = {ref.version: later[ref.version] for ref in models if ref.version in later and ref.role is not Role.SHADOW}
    resolved = replace(before, entries=tuple(entries)) if found else _resolved(lake, spec, day, entries)
    return Unwithdrawn(resolved, found, gone)


def withdrawn_since(lake: Lake, spec: ModelSpec, models: Iterable[ModelRef], position: int) -> str:
    """Which of these models was withdrawn at a later position of the log, in words; empty where none was."""
    serving = {ref.version for ref in models if ref.role is not Role.SHADOW}
    gone = withdrawals(PromotionLog(lake, spec).entries())
    return ", ".join(
        f"version {version} was withdrawn by line {entry.sequence} of the log"
        for version, entry in sorted(gone.items())
        if version in serving and entry.sequence > position
    )


def _resolved(lake: Lake, spec: ModelSpec, day: date, entries: list[Promotion]) -> Resolution:
    choice = spec.scoring.models
    entry: Promotion | None
    if choice.startswith("pinned:"):
        entry = _pinned(entries, int(choice.removeprefix("pinned:")), spec)
    elif choice == "current":
        entry = champion_on(entries, None)
    else:
        entry = champion_on(entries, day)
    if entry is None:
        raise _no_champion_error(entries, spec, day)
    stage = stage_on(entries, _asked(spec, day))
    challenger = None if stage is None else as_ref(stage, spec, terms_of(stage).role)
    models = (as_ref(entry, spec), *_secondary_models(lake, spec, entries, day, challenger))
    return Resolution(models, tuple(entries), staged_scoring(spec.scoring, stage))


def _asked(spec: ModelSpec, day: date) -> date | None:
    """The date whose champion scores the day; None for the latest of all."""
    return None if spec.scoring.models == "current" else day


def as_ref(entry: Promotion, spec: ModelSpec, role: Role = Role.CHAMPION) -> ModelRef:
    """An entry of the promotion log as a reference to its model version."""
    return ModelRef(
        name=spec.registered_name,
        version=entry.model_version,
        digest=entry.package_digest,
        role=role,
        effective_from=entry.effective_from,
        trained_through=entry.trained_through,
    )


def _pinned(entries: list[Promotion], version: int, spec: ModelSpec) -> Promotion:
    withdrawal = withdrawals(entries).get(version)
    if withdrawal is not None:
        raise _withdrawn_error(f"scoring.models pins version {version} of {spec.registered_name}", withdrawal, spec)
    found = [entry for entry in champion_lines(entries) if entry.model_version == version]
    if found:
        return found[-1]
    known = sorted({entry.model_version for entry in champion_lines(entries)})
    raise NoChampionError(
        f"scoring.models pins version {version} of {spec.registered_name}, which was never in production",
        expected=f"one of the versions promoted so far: {', '.join(map(str, known)) or 'none yet'}",
        remedy=f"promote it first, `tally promote {spec.name} --version {version} --effective-from D --by WHO`, or pin "
        f"another version; `tally versions {spec.name}` lists them",
    )


def _train(spec: ModelSpec) -> str:
    """How a version comes to be; D is the as-of date."""
    return f"`tally train {spec.name} --date D`, or the DAG {spec.name}__train"


def _withdrawn_error(found: str, withdrawal: Promotion, spec: ModelSpec) -> NoChampionError:
    return NoChampionError(
        f"{found}, which was withdrawn by line {withdrawal.sequence} of the log ({withdrawal.reason})",
        expected="an earlier champion that was not withdrawn",
        remedy=f"train another version, which its gates promote: {_train(spec)}",
    )


def _no_champion_error(entries: list[Promotion], spec: ModelSpec, day: date) -> NoChampionError:
    lines = in_force(entries, _asked(spec, day))
    champions = champion_lines(lines)
    if champions:
        last = champions[-1].model_version
        withdrawal = next(line for line in lines if line.action == WITHDRAW and line.model_version == last)
        raise _withdrawn_error(f"{spec.name} has no champion on {day}: version {last}", withdrawal, spec)
    first = min((entry.effective_from for entry in champion_lines(entries)), default=None)
    if first is None:
        return NoChampionError(
            f"no model of {spec.name} was ever promoted, so nobody can score {day}",
            expected="a champion whose effective date is not after the score date",
            remedy=f"train one, which its gates promote: {_train(spec)}",
        )
    return NoChampionError(
        f"{spec.name} has no champion on {day}: the first one is effective from {first}",
        expected=f"a score date from {first} on",
        remedy=f"choose a later date, or promote a model with an effective date not after {day}",
    )
