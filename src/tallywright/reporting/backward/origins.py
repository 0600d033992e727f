"""Finds what was asked for by its name: a version, a version of the data, a commit, a raw file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tallywright.errors import InputError, did_you_mean
from tallywright.registry.promotion_log import withdrawals
from tallywright.reporting.backward.data_versions import data_version
from tallywright.reporting.backward.links import Findings, Link
from tallywright.reporting.backward.raw_files import raw_file
from tallywright.reporting.versions import champion_dates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.records import Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.reporting.backward.contents import Contents
    from tallywright.reporting.backward.scored import ScoredPart
    from tallywright.reporting.backward.trained import TrainingData
    from tallywright.spec import ModelSpec

_CHANGED: Final = "+changed"
_SHORTEST: Final = 4
_SHOWN: Final = 5


class OriginKind(StrEnum):
    """What can be asked for."""

    VERSION = "version"
    DATA = "data version"
    COMMIT = "commit"
    RAW = "raw file"

    @property
    def concerns_data(self) -> bool:
        """True where models may have been trained on it, or by it."""
        return self is not OriginKind.VERSION


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as it was typed."""

    kind: OriginKind
    name: str


@dataclass(frozen=True, slots=True)
class Known:
    """All that is recorded of a model, to look it up in."""

    lake: Lake
    spec: ModelSpec
    scored: Sequence[ScoredPart]
    contents: Contents
    trainings: Sequence[TrainingData]
    versions: Mapping[int, VersionRow]
    entries: Sequence[Promotion]


def find(asked: Asked, known: Known) -> Findings:
    """What hangs on it.

    Raises:
        InputError: Nothing of that name is recorded, or several things are.
    """
    if asked.kind is OriginKind.VERSION:
        return _version(asked.name, known)
    if asked.kind is OriginKind.COMMIT:
        return _commit(asked.name, known)
    if asked.kind is OriginKind.DATA:
        return data_version(asked.name, known.lake, known.spec, known.contents, known.trainings)
    return raw_file(asked.name, known.spec, known.contents)


def _version(name: str, known: Known) -> Findings:
    number = int(name)
    there = sorted({*known.versions, *(part.version for part in known.scored if part.version)})
    if number not in there:
        raise InputError(
            f"{known.spec.name} has no version {number}",
            expected=f"one of {', '.join(map(str, there))}" if there else "a registered version; there is none yet",
            remedy=f"tally versions {known.spec.name} lists them",
        )
    row, gone = known.versions.get(number), withdrawals(known.entries).get(number)
    facts = {
        "version": number,
        "digest": None if row is None else row.package_digest,
        "trained_through": None if row is None else row.trained_through,
        "champion": champion_dates(known.entries).get(number, []),
        "withdrawn": None if gone is None else f"line {gone.sequence}: {gone.reason}",
    }
    return Findings(facts, known.contents, versions={number: Link.SCORED})


def _commit(name: str, known: Known) -> Findings:
    """Of a commit also the state with changes that were not committed, which is said."""
    recorded = {part.code_version for part in known.scored}
    recorded |= {one.code_version for one in known.trainings} | {one.code_version for one in known.contents}
    commits = sorted({code.removesuffix(_CHANGED) for code in recorded if code})
    wanted = name.strip().removesuffix(_CHANGED)
    if len(wanted) < _SHORTEST:
        raise InputError(f"{name!r} is too short for a commit", expected=f"at least {_SHORTEST} characters of it")
    meant = [wanted] if wanted in commits else [code for code in commits if code.startswith(wanted)]
    if len(meant) != 1:
        raise _no_commit(known.spec.name, name, meant, commits)
    code = frozenset(one for one in recorded if one.removesuffix(_CHANGED) == meant[0])
    changed = f"{meant[0]}{_CHANGED}" in code
    return Findings(
        {"commit": meant[0]},
        known.contents,
        linked={one.key: Link.INGESTED_BY for one in known.contents if one.code_version in code},
        versions={one.version: Link.TRAINED_BY for one in known.trainings if one.code_version in code},
        code=code,
        notes=("some of it with changes that were not committed",) * changed + _ingested_before(known.contents),
    )


def _no_commit(model: str, name: str, meant: Sequence[str], commits: Sequence[str]) -> InputError:
    shown = ", ".join((meant or commits)[:_SHOWN]) + (", …" if len(meant or commits) > _SHOWN else "")
    if meant:
        return InputError(
            f"{name!r} may mean {len(meant)} commits", expected=f"more of it: {shown}", remedy="write more characters"
        )
    return InputError(
        f"nothing of {model} is recorded of commit {name!r}{did_you_mean(name, commits)}",
        expected=f"a commit, or its beginning, by which something was ingested, trained or scored: {shown or 'none'}",
        remedy=f"`tally query` shows the commits that scored, in {model}__tallies",
    )


def _ingested_before(contents: Contents) -> tuple[str, ...]:
    without = len({content.day for content in contents if not content.code_version})
    told = f"of {without} dates it is not recorded by which code they were ingested"
    return (told,) if without else ()
