"""The tries of a year's level, and the looks at one candidate, as recorded reports of the quality gate have them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from tallywright.gates.evidence.level import AS_OF, LEVEL, LOOK, Spent, Try
from tallywright.gates.record import reports_of_gate
from tallywright.records import JUDGED_AGAINST, QUALITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallywright.data.delta.lake import Lake
    from tallywright.records import GateReport
    from tallywright.spec import ModelSpec


def spent_before(lakes: Sequence[Lake], spec: ModelSpec, candidate: str, champion: str, run_id: str) -> Spent:
    """What was spent of the year's level before a run looks at a candidate.

    Args:
        lakes: Where `<model>__gates` is: of training, and of production where that is another one.
        spec: The model.
        candidate: Digest of the package under test.
        champion: Digest of the champion it is compared with: judged again, a pair is another look and no further try.
        run_id: The run that looks; its own report, where it is repeated, is not one before.
    """
    pair, looked = (candidate, champion), False
    before: list[GateReport] = []
    looks: list[float] = []
    for run, report in reports_of_gate(lakes, spec, QUALITY):
        if _pair_of(report) == pair:
            looked = True
            look = report.observed(LOOK)
            looks += [look] if isinstance(look, float) and run != run_id else []
        elif not looked:
            # What was tried since its first look shares a year with it as well, and has paid for that.
            before.append(report)
    return Spent(tries_of(before), tuple(looks))


def tries_of(reports: Iterable[GateReport]) -> tuple[Try, ...]:
    """The tries of the year's level in quality reports, the oldest first: one for each candidate and champion."""
    tries: dict[tuple[str, str], Try] = {}
    for report in reports:
        as_of, level = report.observed(AS_OF), report.observed(LEVEL)
        if isinstance(as_of, str) and isinstance(level, float) and level:
            tries.setdefault(_pair_of(report), Try(date.fromisoformat(as_of), level))
    return tuple(tries.values())


def _pair_of(report: GateReport) -> tuple[str, str]:
    """The digests of the candidate and of the champion that it was compared with."""
    return report.subject, str(report.observed(JUDGED_AGAINST))
