"""When two tallies have the same inputs, and what to call it when they have not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tallywright.records import Manifest, ModelRef

FIRST: Final = "first"
FORCED: Final = "forced"
LOST: Final = "lost_manifest"
RESTATED: Final = "restated_input"
MODEL: Final = "model"
SPEC: Final = "spec"


def reason_for(last: Manifest, fingerprint: str, models: tuple[ModelRef, ...], scoring_digest: str) -> str:
    """Why the inputs differ from the last tally's, in the order input, model, spec, joined by `+`; empty if equal."""
    changes = {
        RESTATED: last.input.fingerprint != fingerprint,
        MODEL: _by_role(last.models) != _by_role(models),
        SPEC: last.scoring_digest != scoring_digest,
    }
    return "+".join(reason for reason, changed in changes.items() if changed)


def _by_role(models: tuple[ModelRef, ...]) -> list[tuple[str, str, int, str]]:
    return sorted((model.role.value, model.name, model.version, model.digest) for model in models)
