"""Whether two tallies have the same inputs, the reason code when they have not, and which of them is newer.

Input version and promotion sequence order the commits of a date: one that is older in either than what stands does not
happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallywright.errors import CommitConflictError
from tallywright.records import Role

if TYPE_CHECKING:
    from tallywright.records import InputVersion, Manifest, ModelRef
    from tallywright.spec.base import Identity
    from tallywright.spec.sections import Scoring

FIRST: Final = "first"
FORCED: Final = "forced"
LOST: Final = "lost_manifest"
DAMAGED: Final = "lost"
"""The rows that stand are not those of the tally: files are gone, or were changed by others."""
RESTATED: Final = "restated_input"
MODEL: Final = "model"
SPEC: Final = "spec"
WITHDRAWN: Final = "withdrawn"
"""In the place of `model` (or of `first`) where other models score only because a version was withdrawn."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a tally of a date is made from, as far as it can be older or newer.

    Attributes:
        input_version: The Delta version that last changed the date's content.
        promotion_sequence: The position of the promotion log at which its models were resolved; None where unknown.
    """

    input_version: int
    promotion_sequence: int | None

    @classmethod
    def of(cls, source: InputVersion, promotion_sequence: int | None) -> Basis:
        """The basis of a tally of that input."""
        return cls(source.version, promotion_sequence)

    def older_than(self, other: Basis) -> bool:
        """True when either is older; a sequence that is unknown on one side orders nothing."""
        return self.input_version < other.input_version or _less(self.promotion_sequence, other.promotion_sequence)


def basis_of(manifest: Manifest) -> Basis:
    """The basis of a tally, as it carries it."""
    return Basis.of(manifest.input, manifest.promotion_sequence)


def _less(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one < other


def outdated(source: InputVersion, mine: Basis, generation: int, theirs: Basis) -> CommitConflictError:
    """The refusal of a tally that must not go over the one that stands."""
    return CommitConflictError(
        f"{source.score_date} was meanwhile scored from version {theirs.input_version} of {source.table} at promotion "
        f"sequence {_named(theirs.promotion_sequence)} (generation {generation}); this run has version "
        f"{mine.input_version} at promotion sequence {_named(mine.promotion_sequence)}",
        expected="the newest input and the newest promotion of the day",
        remedy="run it again: it resolves both anew; only --force with a --reason goes over what stands",
    )


def _named(sequence: int | None) -> str:
    return "unknown" if sequence is None else str(sequence)


def champion_stands(last: Manifest, fingerprint: str, version: int) -> bool:
    """True when the rows of a tally are that champion's, of that content: no fallback may replace them."""
    primary = last.primary
    return primary.role is Role.CHAMPION and primary.version == version and last.input.fingerprint == fingerprint


def reason_for(last: Manifest, fingerprint: str, models: tuple[ModelRef, ...], scoring: Identity) -> str:
    """The reason code: which of input, model, spec differ from the last tally's, joined by `+`; empty if equal."""
    return _reason(last, fingerprint, models, same_scoring=scoring.matches(last.scoring_digest))


def reason_between(last: Manifest, manifest: Manifest, scoring: Scoring) -> str:
    """The reason code of a manifest that is about to be committed, made with the section `scoring`."""
    same = last.scoring_digest == manifest.scoring_digest
    if not same:
        today = scoring.identity()
        same = today.matches(manifest.scoring_digest) and today.matches(last.scoring_digest)
    return _reason(last, manifest.input.fingerprint, manifest.models, same_scoring=same)


def changes_between(last: Manifest, manifest: Manifest, scoring: Scoring) -> list[str]:
    """Which of input, model, spec differ between two tallies of a day."""
    reason = reason_between(last, manifest, scoring)
    return reason.split("+") if reason else []


def _reason(last: Manifest, fingerprint: str, models: tuple[ModelRef, ...], *, same_scoring: bool) -> str:
    changes = {
        RESTATED: last.input.fingerprint != fingerprint,
        MODEL: _by_role(last.models) != _by_role(models),
        SPEC: not same_scoring,
    }
    return "+".join(reason for reason, changed in changes.items() if changed)


def _by_role(models: tuple[ModelRef, ...]) -> list[tuple[str, str, int, str]]:
    return sorted((model.role.value, model.name, model.version, model.digest) for model in models)
