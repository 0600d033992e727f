"""Whether two tallies have the same inputs, and the reason code when they have not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tallywright.records import Manifest, ModelRef
    from tallywright.spec.base import Identity
    from tallywright.spec.model import Scoring

FIRST: Final = "first"
FORCED: Final = "forced"
LOST: Final = "lost_manifest"
DAMAGED: Final = "lost"
"""The rows that stand are not those of the tally: files are gone, or were changed by others."""
RESTATED: Final = "restated_input"
MODEL: Final = "model"
SPEC: Final = "spec"


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


def _reason(last: Manifest, fingerprint: str, models: tuple[ModelRef, ...], *, same_scoring: bool) -> str:
    changes = {
        RESTATED: last.input.fingerprint != fingerprint,
        MODEL: _by_role(last.models) != _by_role(models),
        SPEC: not same_scoring,
    }
    return "+".join(reason for reason, changed in changes.items() if changed)


def _by_role(models: tuple[ModelRef, ...]) -> list[tuple[str, str, int, str]]:
    return sorted((model.role.value, model.name, model.version, model.digest) for model in models)
