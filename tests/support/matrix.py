"""The conformance suite as a table: which way of scoring was seen to do what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

WAYS = ("local", "spark-direct", "spark-engine", "beam", "beam-prism")
_CASE = re.compile(r"conformance/test_\w+\.py::test_(?P<behaviour>\w+)\[(?P<case>.*)\]$")
_ABOUT_ENGINES = {"the_engine_says_its_own_name"}
_SAME = {"any_layout_gives_the_same_bits_on_workers": "any_layout_gives_the_same_bits"}


def behaviour_of(nodeid: str) -> tuple[str, str] | None:
    """The behaviour and the way of a test case; None for other tests."""
    found = _CASE.search(nodeid)
    ways = [way for way in WAYS if found and f"{found['case']}-".startswith(f"{way}-")]
    if found is None or not ways or found["behaviour"] in _ABOUT_ENGINES:
        return None
    behaviour = _SAME.get(found["behaviour"], found["behaviour"])
    return behaviour.replace("_", " "), max(ways, key=len)


def matrix(reports: Iterable[Any]) -> Iterator[str]:
    """The lines of the table: `yes` where every case passed, `NO` where one failed, `-` where none was run."""
    seen: dict[str, dict[str, bool]] = {}
    for report in reports:
        cell = behaviour_of(report.nodeid)
        if cell is not None and not report.skipped and (report.when == "call" or report.failed):
            row = seen.setdefault(cell[0], {})
            row[cell[1]] = row.get(cell[1], True) and report.passed
    if not seen:
        return
    width = max(map(len, seen))
    yield f"{'behaviour':<{width}}  " + "  ".join(WAYS)
    for behaviour in sorted(seen):
        cells = ({True: "yes", False: "NO", None: "-"}[seen[behaviour].get(way)].ljust(len(way)) for way in WAYS)
        yield f"{behaviour:<{width}}  " + "  ".join(cells).rstrip()
