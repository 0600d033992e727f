"""The second half of the score pipeline: profile, drift, realised performance, decision; and the missed-run watch."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from tallywright.observability import log
from tallywright.records import Role
from tallywright.scoring.commit.manifests import manifests, require_tally

if TYPE_CHECKING:
    from tallywright.lifecycle.context import RunContext
    from tallywright.records import Manifest
    from tallywright.scoring.commit.manifests import Tally
    from tallywright.scoring.commit.profile_table import ProfileRow


def profile(context: RunContext) -> dict[str, Any]:
    """Makes sure that the profile of the day's tally stands in its table; rebuilds it after a crash."""
    tally, row = _profiled(context)
    return {"generation": tally.manifest.generation, "rows": row.profile.rows}


def drift(context: RunContext) -> dict[str, Any]:
    """Compares the profile of the day's tally with the training reference of the champion that scored it."""
    tally, row = _profiled(context)
    return compare(context, tally.manifest, row)


def compare(context: RunContext, manifest: Manifest, row: ProfileRow) -> dict[str, Any]:
    """Compares the profile of a tally with the training reference of the champion that scored it.

    A day that a fallback answered for is not compared: its figures would tell of another model than the policy follows.
    """
    from tallywright.monitoring.drift import compare_day, write_drift

    champion = manifest.primary
    if champion.role is not Role.CHAMPION:
        log.warning("%s is not compared: the %s answered for it", context.day, champion.role.value)
        return {"signals": 0, "violated": [], "note": f"the {champion.role.value} answered for the day"}
    package = context.shared.packages.of(context.project, champion)
    signals = compare_day(context.spec, package, manifest, row.profile)
    write_drift(context.lake, context.spec, manifest, signals)
    violated = sorted({signal.column for signal in signals if signal.violated})
    log.info("drift of %s: %d comparisons, %s", context.day, len(signals), ", ".join(violated) or "none violated")
    return {"signals": len(signals), "violated": violated}


def _profiled(context: RunContext) -> tuple[Tally, ProfileRow]:
    from tallywright.scoring.profile_rows import ensure_profile

    return ensure_profile(context.lake, context.spec, context.day, partial(context.shared.packages.of, context.project))


def monitor(context: RunContext) -> dict[str, Any]:
    """Measures the days whose labels matured, then decides on the day."""
    return performance(context) | decide(context)


def performance(context: RunContext) -> dict[str, Any]:
    """Realised metrics of the scored days whose labels are mature as far as scoring has come."""
    from tallywright.monitoring.performance import due_with, realised_when_mature

    scored = {manifest.score_date for manifest in manifests(context.lake, context.spec)}
    found = [
        realised_when_mature(context.lake, context.spec, day) for day in due_with(context.spec, context.day, scored)
    ]
    return {"days": [day.model_dump(mode="json") for day in found]}


def decide(context: RunContext) -> dict[str, Any]:
    """The retraining decision of the day; `act` is true only once, for the newest day, where the run may act."""
    from tallywright.monitoring.actions import claim_action
    from tallywright.monitoring.decisions import decide as fold_day

    decision = fold_day(context.lake, context.spec, context.day)
    act = claim_action(context.lake, context.spec, decision, act=context.options.act, run_id=context.run_id)
    return {
        "state": decision.state.value,
        "retrain": decision.retrain,
        "act": act,
        "reasons": list(decision.reasons),
        "decision_id": decision.decision_id,
        "train_as_of": str(context.day + timedelta(days=1)),
    }


def watch(context: RunContext) -> dict[str, Any]:
    """Fails when the due day has no tally: the alarm for a run that never started."""
    manifest = require_tally(context.lake, context.spec, context.day).manifest
    return {"score_date": str(context.day), "generation": manifest.generation, "rows": manifest.rows}
