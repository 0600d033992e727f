"""A raw file: the dates that were ingested from it, and those whose lookback reaches them."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from tallywright.errors import InputError, did_you_mean
from tallywright.reporting.backward.links import Findings, Link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from tallywright.records import RawFileRows
    from tallywright.reporting.backward.contents import Content, ContentKey, Contents
    from tallywright.spec import ModelSpec

_SHOWN: Final = 5


def raw_file(name: str, spec: ModelSpec, contents: Contents) -> Findings:
    """The contents that were ingested from a file, by what ingest recorded, and those that it may reach.

    Args:
        name: As ingest names it, or the end of its path; `source:file` where two sources have one of that name.
        spec: Says how far back the SQL may look.
        contents: All that is known.

    Raises:
        InputError: No such file is recorded, or several are.
    """
    source, file = _meant(name, spec, contents)
    linked = {content.key: link for content in contents if (link := _link(content, source, file)) is not None}
    reached = _reached(spec, contents, linked)
    facts = {
        "raw_file": file,
        "source": source,
        "dates": len({day for day, _ in linked}),
        "lookback": f"{spec.data.lookback.length} {spec.data.lookback.unit}",
    }
    return Findings(
        facts,
        contents,
        linked=reached | linked,
        needs_raw_files=True,
        notes=(
            "exact by what ingest recorded of each date; `within data.lookback of it` is as far as the SQL may look",
            "labels that were read again later are not recorded by file",
        ),
    )


def _link(content: Content, source: str, file: str) -> Link | None:
    """How a content hangs on a file by its record."""
    for given in content.raw_files or ():
        if given.source == source and not given.file:  # more files than are named
            return Link.PERHAPS
        if (given.source, given.file) == (source, file):
            if given.whole:
                return Link.LOOKED_UP
            return Link.PERHAPS if given.rows is None else Link.INGESTED
    return None


def _reached(spec: ModelSpec, contents: Contents, linked: Mapping[ContentKey, Link]) -> dict[ContentKey, Link]:
    """The contents whose lookback holds a date that was ingested from the file."""
    days = sorted({day for (day, _), link in linked.items() if link is not Link.LOOKED_UP})
    calendar, span = spec.schedule.calendar, spec.data.lookback
    return {
        content.key: Link.MAY_REACH
        for content in contents
        if _holds(days, calendar.lookback(content.day, span), content.day)
    }


def _holds(days: Sequence[date], first: date, end: date) -> bool:
    """True where one of the days is within a range, its end excluded."""
    place = bisect_left(days, first)
    return place < len(days) and days[place] < end


def _meant(name: str, spec: ModelSpec, contents: Contents) -> tuple[str, str]:
    known = sorted({(given.source, given.file) for given in _given(contents) if given.file})
    if not known:
        raise InputError(
            f"of no date of {spec.name} it is recorded which raw files it was ingested from",
            expected="dates that were ingested since that is recorded",
            remedy=f"tally ingest {spec.name} --from A --to B records it, also of dates whose content is the same",
        )
    exact = [one for one in known if name in (one[1], f"{one[0]}:{one[1]}")]
    meant = exact or [one for one in known if one[1].endswith(f"/{name}")]
    if len(meant) == 1:
        return meant[0]
    shown = ", ".join(f"{source}:{file}" for source, file in (meant or known)[:_SHOWN])
    if meant:
        raise InputError(f"{name!r} may mean {len(meant)} raw files", expected=f"one of {shown}")
    names = [text for _, file in known for text in dict.fromkeys((file, file.rpartition("/")[2]))]
    raise InputError(
        f"no date of {spec.name} is recorded as ingested from {name!r}{did_you_mean(name, names)}",
        expected=f"a raw file of its sources, such as {shown}",
        remedy=f"`tally query` shows the raw files of each date, in {spec.table('inputs')}",
    )


def _given(contents: Contents) -> Iterator[RawFileRows]:
    for content in contents:
        yield from content.raw_files or ()
