"""What approvers have answered about a version: approvals and rejections, entries of the promotion log.

An answer is about one version, its package and the reports of its gates, and it follows one entry of the log: put
anywhere else, its signature does not hold. What an answer that stands is good for: `approvals.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import GateRefusedError, UsageError
from tallywright.records import Decision, Promotion, digest_of
from tallywright.registry.approval.authentication import AIRFLOW, sign, verified
from tallywright.registry.approval.authors import Approver, require_other_than_author
from tallywright.registry.promotion_chain import head_digest
from tallywright.registry.promotion_log import APPROVE, REJECT, PromotionLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tallywright.data.delta.lake import Lake
    from tallywright.records import GateReport, ModelRef
    from tallywright.spec import ModelSpec, Project
    from tallywright.spec.demands import Demands
    from tallywright.spec.sections import Registry

_PURPOSE: Final = "tallywright answer 1"


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """What an approver says about a version, as it is signed.

    Attributes:
        model: Name of the model.
        version: The registered version.
        digest: Of its package.
        reports: Digest of the reports of its gates.
        answer: `approve` or `reject`.
        effective_from: The first score date that is approved of, as `YYYY-MM-DD`; empty for any.
        by: The approver.
        reason: Why.
        after: The digest of the log that the answer follows; empty for an empty one.
    """

    model: str
    version: int
    digest: str
    reports: str
    answer: str
    effective_from: str
    by: str
    reason: str
    after: str

    @property
    def statement(self) -> bytes:
        """What is signed."""
        return json.dumps([_PURPOSE, asdict(self)], sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A request to record an answer.

    Attributes:
        ref: The version that it is about.
        reports: The newest report of each gate about it.
        answer: `approve` or `reject`.
        by: The approver.
        reason: Why.
        recorded_at: The wall clock of the recording.
        recorded_by: The system user who asks.
        key: The approver's private key; None for an answer that Airflow has handed over.
        authentication: How Airflow knows the approver; empty with a key.
        effective_from: The first score date that is approved of; None for any.
    """

    ref: ModelRef
    reports: Sequence[GateReport]
    answer: str
    by: str
    reason: str
    recorded_at: datetime
    recorded_by: str
    key: Path | None = None
    authentication: str = ""
    effective_from: date | None = None


def reports_digest(reports: Iterable[GateReport]) -> str:
    """What stands for the reports of a version, in whichever order they come."""
    return digest_of(sorted(report.to_json() for report in reports))


def standing_answer(entries: Iterable[Promotion], version: int, digest: str) -> Promotion | None:
    """The newest approval or rejection of a version with this package; None where nobody has answered."""
    about = (version, digest)
    found = [
        entry
        for entry in entries
        if entry.action in (APPROVE, REJECT) and (entry.model_version, entry.package_digest) == about
    ]
    return max(found, key=lambda entry: entry.sequence, default=None)


def record_answer(project: Project, lake: Lake, demands: Demands, request: AnswerRequest) -> tuple[Promotion, bool]:
    """Appends an answer to the promotion log, unless the very same one stands; returns the entry, True when written.

    Args:
        project: Whose log.
        lake: Where it stands.
        demands: What the version has to show, by its own spec.
        request: The answer.

    Raises:
        GateRefusedError: They may not answer, or not approve, or their key is a stranger's.
        UsageError: No reason was given, or the package does not say which labels it has seen.
        TallyError: The log cannot be written, or is not what was recorded.
    """
    sections = (demands.registry, project.committed.registry)
    keys = keys_of(*sections)
    if not request.reason.strip():
        raise UsageError("an answer without a reason", expected="--reason, in words, for the record")
    _require_approver(request, sections, keys)
    if request.answer == APPROVE:
        approver = Approver(request.by, request.recorded_by)
        require_other_than_author(project, lake, demands, version=request.ref.version, approver=approver)
    promotions = PromotionLog(lake, project.spec)

    def propose(entries: Sequence[Promotion]) -> Promotion | None:
        standing = standing_answer(entries, request.ref.version, request.ref.digest)
        if standing is not None and _is_same(standing, request):
            return None
        return _entry(project.spec, request, keys, after=head_digest(entries) if entries else "")

    written = promotions.append(propose)
    if written is not None:
        return written, True
    standing = standing_answer(promotions.entries(), request.ref.version, request.ref.digest)
    assert standing is not None  # noqa: S101 - a proposal only gives None when it stands
    return standing, False


def keys_of(demanded: Registry, committed: Registry) -> Mapping[str, str]:
    """The public keys by which approvers of a version are known."""
    return demanded.approver_keys or committed.approver_keys


def named_approvers(sections: Iterable[Registry]) -> frozenset[str] | None:
    """The approvers that are named, by every section that names any; None where none does."""
    lists = [frozenset(one.approvers) for one in sections if one.approvers]
    return frozenset.intersection(*lists) if lists else None


def people_of(keys: Mapping[str, str]) -> frozenset[str]:
    """Whose keys these are, but for the deployment's."""
    return frozenset(keys) - {AIRFLOW}


def stored_answer(entry: Promotion) -> tuple[SignedAnswer, str]:
    """The answer of an entry as it was signed, and the signature.

    Raises:
        GateRefusedError: There is none.
    """
    try:
        told: dict[str, Any] = json.loads(entry.answer_json)
        return SignedAnswer(**told["answer"]), str(told["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise GateRefusedError(
            f"the answer in line {entry.sequence} of the log cannot be read",
            expected="an answer as tally approve records it",
            remedy=f"tally history {entry.model} --verify, then answer again",
        ) from error


def _require_approver(request: AnswerRequest, sections: Sequence[Registry], keys: Mapping[str, str]) -> None:
    named = named_approvers(sections)
    by_key = request.key is not None
    is_known = request.by in keys and request.by != AIRFLOW if by_key else bool(request.authentication)
    if is_known and (named is None or request.by in named):
        return
    who = sorted(people_of(keys) if named is None else named)
    raise GateRefusedError(
        f"{request.by!r} may not {request.answer} a version" if request.by else "nobody is known to answer",
        expected=f"an answer that is signed by the key of {', '.join(who) or 'an approver (registry.approver_keys)'}",
        remedy="sign with the key that the spec names for an approver: --key FILE",
    )


def _is_same(standing: Promotion, request: AnswerRequest) -> bool:
    """True when the answer that stands says what is asked for once more."""
    told = Decision.from_json(standing.decision_json)
    effective = request.effective_from or _first_day(request)
    return (
        (standing.action, standing.approver, standing.reason, standing.effective_from)
        == (request.answer, request.by, request.reason, effective)
        and reports_digest(told.reports) == reports_digest(request.reports)
        and bool(stored_answer(standing)[0].effective_from) == (request.effective_from is not None)
    )


def _entry(spec: ModelSpec, request: AnswerRequest, keys: Mapping[str, str], *, after: str) -> Promotion:
    """The entry of an answer that follows the log with this digest."""
    ref = request.ref
    answer = SignedAnswer(
        model=spec.name,
        version=ref.version,
        digest=ref.digest,
        reports=reports_digest(request.reports),
        answer=request.answer,
        effective_from="" if request.effective_from is None else str(request.effective_from),
        by=request.by,
        reason=request.reason,
        after=after,
    )
    signature, known = "", request.authentication
    if request.key is not None:
        signature = sign(answer, request.key)
        known = f"key {verified(answer, signature, keys[request.by])}"
    decision = Decision(
        model=spec.name,
        candidate_version=ref.version,
        candidate_digest=ref.digest,
        reports=tuple(request.reports),
        approver=request.by,
        reason=request.reason,
        authentication=known,
    )
    return Promotion(
        model=spec.name,
        sequence=0,
        action=request.answer,
        model_version=ref.version,
        package_digest=ref.digest,
        trained_through=_trained_through(request),
        effective_from=request.effective_from or _first_day(request),
        recorded_at=request.recorded_at,
        approver=request.by,
        reason=request.reason,
        decision_json=decision.to_json(),
        authentication=known,
        recorded_by=request.recorded_by,
        answer_json=json.dumps({"answer": asdict(answer), "signature": signature}, sort_keys=True),
    )


def _first_day(request: AnswerRequest) -> date:
    """The first date of which the version may be champion."""
    return _trained_through(request) + timedelta(days=1)


def _trained_through(request: AnswerRequest) -> date:
    if request.ref.trained_through is None:
        raise UsageError(f"version {request.ref.version} does not say how far its training data reach")
    return request.ref.trained_through
