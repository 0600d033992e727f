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

    `passed_over` is the champion that the day would have, had it not been withdrawn. `note` says that the tally of a
    version that was withdrawn since stands; then the models are those that made it.
    """

    models: tuple[ModelRef, ...]
    resolution: Resolution
    withdrawn: Mapping[int, Promotion] = field(default_factory=dict)
    passed_over: int | None = None
    note: str = ""

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
    before, withdrawn = before_withdrawals(lake, spec, day)
    if not withdrawn:
        return DayModels(before.models, before)
    manifest = None if rescore or source is None else latest_manifest(lake, spec, day)
    if source is None or manifest is None or not _same_inputs(spec, manifest, source, before.models):
        champion, now = before.models[0].version, resolution(lake, spec, day)
        return DayModels(now.models, now, withdrawn, champion if champion in withdrawn else None)
    return DayModels(
        manifest.models, before, withdrawn, note=f"{_told(withdrawn.values())}; what it scored stands (see --rescore)"
    )


def _same_inputs(spec: ModelSpec, manifest: Manifest, source: InputVersion, models: tuple[ModelRef, ...]) -> bool:
    """True when the tally is made of this input by these models, less those that had to be left out."""
    absent = {(one.role, one.version) for one in manifest.roles if one.note}
    wanted = eligible(spec, models, source.score_date)
    return (
        manifest.input.fingerprint == source.fingerprint
        and spec.scoring.identity().matches(manifest.scoring_digest)
        and _of(manifest.models, absent) == _of(wanted, absent)
    )


def _of(models: Iterable[ModelRef], absent: set[tuple[Role, int]]) -> set[tuple[str, int, str]]:
    return {(ref.role, ref.version, ref.digest) for ref in models if (ref.role, ref.version) not in absent}


def _told(withdrawn: Iterable[Promotion]) -> str:
    return ", ".join(
        f"version {one.model_version} was withdrawn by line {one.sequence} of the log ({one.reason})"
        for one in withdrawn
    )
