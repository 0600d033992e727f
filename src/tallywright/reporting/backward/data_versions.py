"""A version of the data: a Delta version of the feature table, or the fingerprint of a date's content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallywright.data.delta.history import commits
from tallywright.data.etl.reading import written_content
from tallywright.errors import InputError, StorageError, did_you_mean
from tallywright.reporting.backward.contents import Content, Contents
from tallywright.reporting.backward.links import Findings, Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.reporting.backward.trained import TrainingData
    from tallywright.spec import ModelSpec

_SHORTEST: Final = 4
_MOST_DIGITS: Final = 9
"""Of a version's number; a longer text of digits is the beginning of a fingerprint."""


def data_version(
    name: str, lake: Lake, spec: ModelSpec, contents: Contents, trainings: Sequence[TrainingData]
) -> Findings:
    """The contents of that version or fingerprint, and the models whose snapshot is that version of the table.

    Raises:
        InputError: None is recorded, or several fingerprints begin so.
    """
    table = spec.table("features")
    if name.isdecimal() and len(name) <= _MOST_DIGITS:
        number = int(name)
        pinned = {one.version: Link.PINNED for one in trainings if one.features_version == number}
        meant = [one for one in contents if one.version == number]
        if not meant:
            meant = _in_log(lake, spec, number)
            contents = Contents([*contents, *meant])
        if not meant and not pinned:
            raise _no_version(lake, table, number, sorted({one.version for one in contents}))
    else:
        meant, pinned = _of_fingerprint(table, name, contents), {}
    return Findings(
        {"table": table, "contents": [_facts(one) for one in meant]},
        contents,
        linked={one.key: Link.READ for one in meant},
        versions=pinned,
    )


def _facts(content: Content) -> dict[str, Any]:
    files = "not recorded" if content.raw_files is None else [one.file for one in content.raw_files if not one.whole]
    return {
        "date": str(content.day),
        "version": content.version,
        "fingerprint": content.fingerprint,
        "rows": content.rows,
        "raw_files": files,
        "stands": content.stands,
    }


def _in_log(lake: Lake, spec: ModelSpec, number: int) -> list[Content]:
    """The content that a commit has written, by the table's log; none where it wrote none, or the log is gone."""
    table = spec.table("features")
    newest = lake.find(table)
    if newest is None or number > newest.version():
        return []
    try:
        handle = lake.look(table, number)
    except StorageError:
        return []
    written = written_content(next(commits(lake, handle), {}))
    return [] if written is None else [Content(written.day, number, written.fingerprint, written.rows)]


def _no_version(lake: Lake, table: str, number: int, known: Sequence[int]) -> InputError:
    newest = lake.find(table)
    before, after = [one for one in known if one < number], [one for one in known if one > number]
    near = " and ".join(str(one) for one in (*before[-1:], *after[:1]))
    why = "there is no such table yet" if newest is None else f"its newest version is {newest.version()}"
    if newest is not None and number <= newest.version():
        why = "that commit wrote no date's content, as a compaction does not, or its log is gone"
    return InputError(
        f"no content of {table} is of version {number}: {why}",
        expected=f"a version that wrote a date; the nearest are {near}" if near else "a version that wrote a date",
        remedy=_where(table),
    )


def _where(table: str) -> str:
    return (
        f"`tally query` shows the version and the fingerprint of each date, in {table.removesuffix('features')}inputs"
    )


def _of_fingerprint(table: str, name: str, contents: Contents) -> list[Content]:
    wanted, known = name.lower(), sorted({one.fingerprint for one in contents})
    if len(wanted) < _SHORTEST:
        raise InputError(f"{name!r} is too short for a fingerprint", expected=f"at least {_SHORTEST} characters of it")
    meant = [one for one in known if one.startswith(wanted)]
    if len(meant) > 1:
        raise InputError(f"{name!r} may mean {len(meant)} fingerprints", expected=f"more of it: {', '.join(meant[:5])}")
    if not meant:
        raise InputError(
            f"no content of {table} has the fingerprint {name!r}{did_you_mean(wanted, known)}",
            expected="a Delta version of the table (a number), or the beginning of a date's fingerprint",
            remedy=_where(table),
        )
    return [one for one in contents if one.fingerprint == meant[0]]
