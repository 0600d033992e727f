"""The scores that hang on a model version, a data version, a commit or a raw file: days, rows, and what stands of them.

Everything is counted from manifests and records; no row of scores is read.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tallywright.data.delta.lake import Lake
from tallywright.records import Role
from tallywright.registry.promotion_log import PromotionLog
from tallywright.registry.versions_table import known_versions
from tallywright.reporting.backward.contents import Contents, known_contents
from tallywright.reporting.backward.links import UNSURE, Link
from tallywright.reporting.backward.origins import Known, find
from tallywright.reporting.backward.ranges import in_ranges, told
from tallywright.reporting.backward.scored import scored_parts
from tallywright.reporting.backward.trained import trained_on, training_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from tallywright.reporting.backward.links import Findings
    from tallywright.reporting.backward.origins import Asked
    from tallywright.reporting.backward.scored import ScoredPart
    from tallywright.reporting.backward.trained import TrainedOn, TrainingData
    from tallywright.spec import Project
    from tallywright.spec.calendar import Calendar


@dataclass(frozen=True, slots=True)
class ScoredRange:
    """Days without a gap whose rows of one version and role hang on the same in the same way."""

    first: date
    last: date
    days: int
    rows: int
    model_version: int
    role: str
    stands: bool
    """False where later generations have replaced the rows."""
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Affected:
    """What hangs on what was asked for."""

    asked: dict[str, Any]
    total: dict[str, int]
    scores: list[ScoredRange]
    models: list[dict[str, Any]]
    days: list[dict[str, Any]]
    """A row a day, generation, version and role: for programs."""
    not_recorded: list[str]
    """Ranges of scored days of which what was asked for was not recorded."""
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def affected(project: Project, asked: Asked, first: date | None = None, last: date | None = None) -> Affected:
    """The scores of a range of days (of all of them by default) that hang on what was asked for.

    Raises:
        InputError: Nothing of that name is recorded, or several things are.
        StorageError: The lake cannot be read.
    """
    lake, spec = Lake.of(project.environment), project.spec
    scored = scored_parts(lake, spec)
    entries = PromotionLog(lake, spec).entries()
    versions = known_versions(lake, spec, entries)
    trainings = [training_of(project, row) for _, row in sorted(versions.items())] if asked.kind.concerns_data else []
    contents = Contents(known_contents(lake, spec, scored))
    found = find(asked, Known(lake, spec, scored, contents, trainings, versions, entries))
    models, unrecorded = trained_on(found, trainings)
    linked = {one.version: one.link for one in models} | dict(found.versions)
    inside = [part for part in scored if (first is None or part.day >= first) and (last is None or part.day <= last)]
    parts = [(part, why) for part in inside if (why := _why(part, found, linked))]
    calendar = spec.schedule.calendar
    return Affected(
        asked=found.facts,
        total=_total(parts),
        scores=list(_ranges(parts, calendar)),
        models=[_model(one, parts) for one in models if one.link is not Link.SCORED],
        days=[_day(part, why) for part, why in parts],
        not_recorded=[told(run) for run in in_ranges(_without_record(inside, found), calendar)],
        notes=[*found.notes, *_notes(unrecorded, [one for one in trainings if one.unknown])],
    )


def _why(part: ScoredPart, found: Findings, linked: Mapping[int, Link]) -> tuple[Link, ...]:
    """How a part hangs on what was asked for; nothing where it does not."""
    links = {found.linked.get((part.day, part.input.version)), linked.get(part.version)}
    if part.code_version in found.code:
        links.add(Link.SCORED)
    return tuple(link for link in Link if link in links)


Parts = list[tuple["ScoredPart", tuple[Link, ...]]]


def _total(parts: Parts) -> dict[str, int]:
    """Days and rows of the scores table; those of shadows, which nobody was served, by themselves."""
    found: dict[str, list[ScoredPart]] = {name: [] for name in ("standing", "perhaps", "replaced", "shadow")}
    for part, why in parts:
        found[_counts_as(part, why)].append(part)
    counts = {
        name: (len({part.day for part in those}), sum(part.rows for part in those)) for name, those in found.items()
    }
    return {
        f"{name}_{unit}": count
        for name, both in counts.items()
        for unit, count in zip(("days", "rows"), both, strict=True)
    }


def _counts_as(part: ScoredPart, why: Iterable[Link]) -> str:
    if part.role is Role.SHADOW:
        return "shadow"
    if not part.stands:
        return "replaced"
    return "perhaps" if UNSURE.issuperset(why) else "standing"


def _ranges(parts: Parts, calendar: Calendar) -> Iterator[ScoredRange]:
    """Yields the ranges, those that stand first, then by their first day."""
    groups: dict[tuple[bool, int, str, tuple[Link, ...]], dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for part, why in parts:
        groups[part.stands, part.version, part.role.value, why][part.day] += part.rows
    found = [
        ScoredRange(
            first=run[0],
            last=run[-1],
            days=len(run),
            rows=sum(rows[day] for day in run),
            model_version=version,
            role=role,
            stands=stands,
            why=tuple(link.value for link in why),
        )
        for (stands, version, role, why), rows in groups.items()
        for run in in_ranges(rows, calendar)
    ]
    yield from sorted(found, key=lambda one: (not one.stands, one.first, one.model_version, one.role))


def _model(one: TrainedOn, parts: Parts) -> dict[str, Any]:
    """A version whose training hangs on what was asked for, with what it has scored."""
    own = [part for part, _ in parts if part.version == one.version and part.role is not Role.SHADOW]
    standing = [part for part in own if part.stands]
    return {
        "model_version": one.version,
        "why": one.link.value,
        "first": one.first,
        "last": one.last,
        "dates": dict(one.dates or {}),
        "standing_days": len({part.day for part in standing}),
        "standing_rows": sum(part.rows for part in standing),
    }


def _day(part: ScoredPart, why: Iterable[Link]) -> dict[str, Any]:
    return {
        "score_date": part.day,
        "generation": part.generation,
        "stands": part.stands,
        "model_version": part.version,
        "role": part.role.value,
        "rows": part.rows,
        "why": [link.value for link in why],
    }


def _without_record(parts: Iterable[ScoredPart], found: Findings) -> Iterator[date]:
    """Yields the days of which nothing says whether they hang on a raw file."""
    if found.needs_raw_files:
        known = {content.key for content in found.contents if content.raw_files is not None}
        yield from (part.day for part in parts if (part.day, part.input.version) not in known)


def _notes(unrecorded: int, unknown: Sequence[TrainingData]) -> Iterator[str]:
    if unrecorded:
        yield f"of {unrecorded} dates that models were trained on, what they were ingested from is not recorded"
    for training in unknown:
        yield f"what version {training.version} was trained on is not known: {training.unknown}"
