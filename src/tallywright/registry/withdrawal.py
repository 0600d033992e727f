"""Withdrawal: takes one version out of production for good, whatever its place in the promotion log.

What it has scored stands. A day that is still to be scored gets the newest earlier champion that was not withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tallywright.errors import GateRefusedError, UsageError
from tallywright.records import Promotion
from tallywright.registry.promotion_chain import PROMOTE
from tallywright.registry.promotion_log import (
    RETURN,
    WITHDRAW,
    PromotionLog,
    champion_lines,
    champion_on,
    withdrawals,
)
from tallywright.registry.versions_table import no_such_version, recorded_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from tallywright.data.delta.lake import Lake
    from tallywright.spec import ModelSpec

DEFAULT_REASON: Final = "every gate passed"
"""The reason of a promotion for which nobody gave one."""


@dataclass(frozen=True, slots=True)
class WithdrawRequest:
    """A request to withdraw a version: which, why, by whom, the wall clock and the system user of the recording."""

    version: int
    reason: str
    approver: str
    recorded_at: datetime
    recorded_by: str = ""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal that stands, whether it was written now, and the champion of the latest dates after it."""

    entry: Promotion
    written: bool
    champion: Promotion | None


def withdraw(lake: Lake, spec: ModelSpec, request: WithdrawRequest) -> Withdrawal:
    """Withdraws a version; repeating it changes nothing, whatever the reason that is given.

    Raises:
        UsageError: No such version, or no reason or approver.
        CommitConflictError: Other writers were faster each time.
        StorageError: The log cannot be written.
    """
    if not request.reason.strip() or not request.approver.strip():
        raise UsageError("a withdrawal without a reason or an approver", expected="both, in words, for the record")

    def propose(entries: Sequence[Promotion]) -> Promotion | None:
        if request.version in withdrawals(entries):
            return None
        digest, trained_through, lines = _known(lake, spec, entries, request.version)
        return Promotion(
            model=spec.name,
            sequence=0,
            action=WITHDRAW,
            model_version=request.version,
            package_digest=digest,
            trained_through=trained_through,
            # No entry that made it champion can be earlier: a model is champion only of dates after its data.
            effective_from=min([trained_through + timedelta(days=1), *(line.effective_from for line in lines)]),
            recorded_at=request.recorded_at,
            approver=request.approver,
            reason=request.reason,
            recorded_by=request.recorded_by,
        )

    promotions = PromotionLog(lake, spec)
    written = promotions.append(propose)
    entries = promotions.entries()
    entry = written or withdrawals(entries)[request.version]
    return Withdrawal(entry, written is not None, champion_on(entries, None))


def require_own_reason(entries: Sequence[Promotion], proposed: Promotion) -> None:
    """Refuses to promote a version that was withdrawn or returned by a reason that was given before.

    A promotion that is merely repeated must undo neither; one with a reason of its own is a new decision.

    Raises:
        GateRefusedError: Names the withdrawal or the return.
    """
    ended = _ended(entries, proposed.model_version)
    if ended is None:
        return
    said = {entry.reason for entry in champion_lines(entries) if entry.model_version == proposed.model_version}
    if proposed.reason not in said | {DEFAULT_REASON}:
        return
    what = "withdrawn" if ended.action == WITHDRAW else "returned"
    raise GateRefusedError(
        f"version {proposed.model_version} was {what} by line {ended.sequence} of the log: {ended.reason}",
        expected=f"a version that was not {what}, or a reason of its own to bring this one back",
        remedy="promote another version, or say why with --reason",
    )


def _ended(entries: Sequence[Promotion], version: int) -> Promotion | None:
    """The newest withdrawal or return of a version that was not promoted since; None where there is none."""
    about = [one for one in entries if one.model_version == version and one.action in {WITHDRAW, RETURN, PROMOTE}]
    newest = max(about, key=lambda entry: entry.sequence, default=None)
    return None if newest is None or newest.action == PROMOTE else newest


def _known(
    lake: Lake, spec: ModelSpec, entries: Sequence[Promotion], version: int
) -> tuple[str, date, list[Promotion]]:
    """Digest, reach of the training data, and the entries that made it champion; by the log, else as registered."""
    lines = [entry for entry in champion_lines(entries) if entry.model_version == version]
    if lines:
        return lines[-1].package_digest, lines[-1].trained_through, lines
    recorded = recorded_versions(lake, spec)
    row = recorded.get(version)
    if row is None:
        known = {*recorded, *(entry.model_version for entry in champion_lines(entries))}
        raise no_such_version(f"{spec.registered_name} has no version {version} that could be withdrawn", known, spec)
    if row.trained_through is None:
        raise UsageError(f"version {version} does not say how far its training data reach, and was never champion")
    return row.package_digest, row.trained_through, []
