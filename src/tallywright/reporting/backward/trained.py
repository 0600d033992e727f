"""What each version of a model was trained on, and by which code: as registration recorded it, else by its package."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TallyError
from tallywright.lifecycle.context import package_of
from tallywright.reporting.backward.links import UNSURE, Link
from tallywright.score_period import date_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallywright.registry.versions_table import VersionRow
    from tallywright.reporting.backward.links import Findings
    from tallywright.spec import Project

_SPLITS: Final = ("train", "validation", "holdout")


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The training of one version: its code, the windows by split, and the version of the feature table."""

    version: int
    code_version: str = ""
    windows: Mapping[str, tuple[date, date]] | None = None
    features_version: int = 0
    unknown: str = ""
    """Why nothing is known of its data; empty where it is."""


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """A version with what its training data have of what was asked for: dates by split."""

    version: int
    link: Link
    first: date | None = None
    last: date | None = None
    dates: Mapping[str, int] | None = None


def training_of(project: Project, row: VersionRow) -> TrainingData:
    """The training of a version.

    Its package is looked at where the row is of before: in the cache, else in the registry.
    """
    code, text = row.code_version, row.snapshot_json
    if not text:
        try:
            meta = package_of(project, row.as_ref(project.spec)).meta
        except TallyError as error:
            return TrainingData(row.model_version, code, unknown=error.found)
        code, text = meta.code_version, meta.snapshot_json
    try:
        snapshot: dict[str, Any] = json.loads(text)
        windows = {split: _window(snapshot, split) for split in _SPLITS}
        pinned = int(snapshot["features"]["version"])
    except (ValueError, KeyError, TypeError):
        return TrainingData(row.model_version, code, unknown="its package names no snapshot of this lake")
    return TrainingData(row.model_version, code, windows, pinned)


def _window(snapshot: Mapping[str, Any], split: str) -> tuple[date, date]:
    first, last = (date.fromisoformat(snapshot[f"{split}_{end}"]) for end in ("from", "to"))
    return first, last


def trained_on(found: Findings, trainings: Iterable[TrainingData]) -> tuple[list[TrainedOn], int]:
    """The versions whose training data hang on what was asked for.

    Returns:
        Them, and how many dates of windows have contents that were not recorded.
    """
    linked: list[TrainedOn] = []
    unrecorded: set[date] = set()
    for training in trainings:
        if training.version in found.versions:
            linked.append(TrainedOn(training.version, found.versions[training.version]))
        elif training.windows is not None and found.linked:
            one, without = _by_windows(found, training, training.windows)
            unrecorded |= without
            linked += [] if one is None else [one]
    return linked, len(unrecorded)


def _by_windows(
    found: Findings, training: TrainingData, windows: Mapping[str, tuple[date, date]]
) -> tuple[TrainedOn | None, set[date]]:
    dates: dict[date, Link] = {}
    unrecorded: set[date] = set()
    ends = [end for window in windows.values() for end in window]
    for day, content in found.contents.at(training.features_version, min(ends), max(ends)):
        if content is None or (content.raw_files is None and found.needs_raw_files):
            unrecorded.add(day)
        if content is not None and content.key in found.linked:
            dates[day] = found.linked[content.key]
    if not dates:
        return None, unrecorded
    sure = any(link not in UNSURE for link in dates.values())
    kept = sorted(day for day, link in dates.items() if not sure or link not in UNSURE)
    split_of = Counter(
        split for day in kept for split, (first, last) in windows.items() if first <= date_of(day) <= last
    )
    link = Link.TRAINED if sure else Link.MAY_TRAIN
    return TrainedOn(training.version, link, kept[0], kept[-1], dict(split_of)), unrecorded
