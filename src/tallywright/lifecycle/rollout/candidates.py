"""Which version begins a trial: the newest that may, and none that has been tried before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallywright.records import NO_CHAMPION
from tallywright.registry.approval.answers import standing_answer
from tallywright.registry.promotion_log import REJECT, champion_lines, withdrawals
from tallywright.registry.stages import tried
from tallywright.spec.rollout import SHADOW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from tallywright.records import Promotion
    from tallywright.registry.versions_table import VersionRow
    from tallywright.spec.rollout import Rollout


def next_candidate(
    rollout: Rollout,
    known: Mapping[int, VersionRow],
    entries: Sequence[Promotion],
    champion: Promotion,
    effective_from: date,
) -> tuple[VersionRow | None, str]:
    """The version that begins its trial; or None, and why the newest one does not.

    Args:
        rollout: The rules.
        known: The registered versions by number.
        entries: The promotion log.
        champion: Who it would be held against.
        effective_from: The first date of its first stage.
    """
    last = max([0, *tried(entries), *(entry.model_version for entry in champion_lines(entries))])
    why = "no version is newer than all that were champion or were tried"
    for number in sorted((number for number in known if number > last), reverse=True):
        problem = _problem(rollout, known[number], entries, champion, effective_from)
        if not problem:
            return known[number], ""
        why = f"version {number} {problem}" if number == max(known) else why
    return None, why


def _problem(
    rollout: Rollout, row: VersionRow, entries: Sequence[Promotion], champion: Promotion, effective_from: date
) -> str:
    """Why a version does not begin its trial; empty where it does."""
    if row.refused:
        return "was refused by a gate"
    if not row.gates_passed and rollout.stages[0].stage != SHADOW:
        return "is undecided, and the first stage is no shadow"
    if row.trained_through is None or row.trained_through >= effective_from:
        return f"has seen labels through {row.trained_through or 'unknown dates'}, and waits for later dates"
    return taken_back(row, entries) or _judged_against_another(row, champion, effective_from)


def taken_back(row: VersionRow | Promotion, entries: Sequence[Promotion]) -> str:
    """Who has taken a version back, as its row or an entry names it; empty where nobody has."""
    withdrawal = withdrawals(entries).get(row.model_version)
    if withdrawal is not None:
        return f"was withdrawn: {withdrawal.reason}"
    answer = standing_answer(entries, row.model_version, row.package_digest)
    return f"was rejected by {answer.approver}: {answer.reason}" if answer and answer.action == REJECT else ""


def _judged_against_another(row: VersionRow, champion: Promotion, effective_from: date) -> str:
    """That the gates compared it with somebody else than today's champion, which no promotion accepts."""
    if row.judged_against in {"", champion.package_digest}:
        return ""
    whom = "no champion" if row.judged_against == NO_CHAMPION else "another champion than today's"
    again = f"tally judge {row.model} --version {row.model_version} --date {effective_from}"
    return f"was judged against {whom}: `{again}` compares it with version {champion.model_version}"
