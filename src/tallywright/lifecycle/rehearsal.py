"""Rehearses a rollback before it is needed: in a promotion log of its own, in a lake that is thrown away."""

from __future__ import annotations

import tempfile
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tallywright.data.delta.lake import Lake
from tallywright.errors import TallyError
from tallywright.records import Check, Decision, GateReport, ModelRef, Promotion, Verdict
from tallywright.registry.promotion_chain import PROMOTE
from tallywright.registry.promotion_log import PromotionLog, champion_on, same_model
from tallywright.registry.transitions import RollbackRequest, rollback

if TYPE_CHECKING:
    from tallywright.packaging.package import Package
    from tallywright.spec import ModelSpec, Project

_WHO: Final = "operations gate"
_WHY: Final = "rehearsal"
_CHECK: Final = "rollback_rehearsed"


def rehearse_rollback(project: Project, candidate: Package, champion: ModelRef, *, now: datetime) -> Check:
    """Promotes the candidate over the champion in a scratch log, rolls back, and looks who is champion then.

    Args:
        project: Whose spec the log follows.
        candidate: As it would be promoted, from the first date on that it may score.
        champion: As the real log has it.
        now: The wall clock of the entries.
    """
    spec, bound = project.spec, "the champion again, by a sound log of three entries"
    through = candidate.meta.trained_through
    day = max(through, champion.effective_from or through) + timedelta(days=1)
    before = _promotion(spec, champion, champion.effective_from or day, now)
    after = ModelRef(name=champion.name, version=champion.version + 1, digest=candidate.digest, trained_through=through)
    try:
        with tempfile.TemporaryDirectory(prefix="tally-rehearsal-") as root:
            lake = Lake(root)
            promotions = PromotionLog(lake, spec)
            promotions.append(lambda _: before)
            promotions.append(lambda _: _promotion(spec, after, day, now))
            request = RollbackRequest(effective_from=day, reason=_WHY, approver=_WHO, recorded_at=now)
            current = rollback(project, lake, request)
            entries, problems = promotions.entries(), promotions.problems()
    except TallyError as error:
        return Check(name=_CHECK, verdict=Verdict.FAIL, bound=bound, evidence=error.found)
    good = champion_on(entries, day) == current and same_model(current, before) and not problems
    names = {candidate.digest: "the candidate", champion.digest: f"version {champion.version}"}
    steps = " -> ".join(f"{one.action} {names[one.package_digest]}" for one in entries)
    evidence = "; ".join(map(str, problems)) or steps
    return Check.of(_CHECK, good, f"version {current.model_version}", bound, evidence)


def _promotion(spec: ModelSpec, ref: ModelRef, day: date, now: datetime) -> Promotion:
    passed = Check(name=_CHECK, verdict=Verdict.PASS)
    decision = Decision(
        model=spec.name,
        candidate_version=ref.version,
        candidate_digest=ref.digest,
        reports=(GateReport(gate="rehearsal", model=spec.name, subject=ref.digest, checks=(passed,)),),
        approver=_WHO,
        reason=_WHY,
    )
    return Promotion(
        model=spec.name,
        sequence=0,
        action=PROMOTE,
        model_version=ref.version,
        package_digest=ref.digest,
        trained_through=ref.trained_through or day,
        effective_from=day,
        recorded_at=now,
        approver=_WHO,
        reason=_WHY,
        decision_json=decision.to_json(),
    )
