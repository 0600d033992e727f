"""Days that a version scored before it was withdrawn: their tallies stand until somebody asks for another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallywright.registry.resolve import before_withdrawals, resolution
from tallywright.scoring.commit.manifests import latest_manifest
from tallywright.scoring.roles.eligibility import eligible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from tallywright.data.delta.lake import Lake
    from tallywright.records import InputVersion, Manifest, ModelRef, Promotion, Role
    from tallywright.registry.resolve import Resolution
    from tallywright.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class DayModels:
    """The models that score a day, the log they were resolved from, and the withdrawals that matter to it, by version.

    `passed_over` are the withdrawn versions, where one of them would be champion of the day. `note` says that the tally
    of a version that was withdrawn since stands; then the models are those that made it.
    """

    models: tuple[ModelRef, ...]
    resolution: Resolution
    withdrawn: Mapping[int, Promotion] = field(default_factory=dict)
    passed_over: frozenset[int] = frozenset()
    note: str = ""

    def spec_of_day(self, spec: ModelSpec) -> ModelSpec:
        """The spec with the section `scoring` as it is in force on the day."""
        scoring = self.resolution.scoring
        return spec if scoring is spec.scoring else spec.model_copy(update={"scoring": scoring})

    @property
    def promotion_sequence(self) -> int:
        """The position of the log: the newest sequence that was known."""
        return self.resolution.promotion_sequence


def models_of_day(lake: Lake, spec: ModelSpec, day: date, source: InputVersion | None, *, rescore: bool) -> DayModels:
    """Resolves the models of a day, unless its tally was made of equal inputs by a version that was withdrawn since.

    Args:
        lake: Where the tables are.
        spec: Whose day.
        day: The score date.
        source: The day's input; None where there is none yet.
        rescore: True when a tally of a withdrawn version shall not stand.

    Raises:
        NoChampionError: Nobody may score the day, and it has no such tally.
        SpecError: As `resolve`.
    """
    then = before_withdrawals(lake, spec, day)
    manifest = None if rescore or source is None or not then.withdrawn else latest_manifest(lake, spec, day)
    if manifest is not None:
        then = before_withdrawals(lake, spec, day, manifest)
    if not then.withdrawn:
        return DayModels(then.resolution.models, then.resolution)
    if source is not None and manifest is not None and _same_inputs(spec, manifest, source, then.resolution):
        note = f"{_told(then.withdrawn.values())}; what it scored stands (see --rescore)"
        return DayModels(manifest.models, then.resolution, then.withdrawn, note=note)
    champion, now = then.resolution.models[0].version, resolution(lake, spec, day)
    passed_over = frozenset(then.gone) if champion in then.withdrawn else frozenset[int]()
    return DayModels(now.models, now, then.withdrawn, passed_over)


def _same_inputs(spec: ModelSpec, manifest: Manifest, source: InputVersion, resolved: Resolution) -> bool:
    """True when the tally is made of this input by these models, less those that had to be left out."""
    absent = {(one.role, one.version) for one in manifest.roles if one.note}
    wanted = eligible(spec, resolved.models, source.score_date)
    return (
        manifest.input.fingerprint == source.fingerprint
        and resolved.scoring.identity().matches(manifest.scoring_digest)
        and _of(manifest.models, absent) == _of(wanted, absent)
    )


def _of(models: Iterable[ModelRef], absent: set[tuple[Role, int]]) -> set[tuple[str, int, str]]:
    return {(ref.role, ref.version, ref.digest) for ref in models if (ref.role, ref.version) not in absent}


def _told(withdrawn: Iterable[Promotion]) -> str:
    return ", ".join(
        f"version {one.model_version} was withdrawn by line {one.sequence} of the log ({one.reason})"
        for one in withdrawn
    )
