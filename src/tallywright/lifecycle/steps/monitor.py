"""The steps after a day was scored, and of the watch: late labels, realised metrics, periods, decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tallywright.lifecycle.late_labels import read_labels_again, realise_standing
from tallywright.lifecycle.periods import record_due, record_scored, unscored_error
from tallywright.scoring.commit.manifests import require_tally, scored_dates
from tallywright.scoring.commit.standing import require_standing

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from tallywright.lifecycle.context import RunContext

_DAYS_IN_RESULT: Final = 10
"""Of the days that were realised, the result of the step has the last ones: it is small."""


def monitor(context: RunContext) -> dict[str, Any]:
    """Reads late labels, realises the days whose labels matured, records the periods, makes the day's decision."""
    read = labels(context)
    changed = [context.spec.schedule.calendar.parse(day) for day in read["labels_changed"]]
    scored = scored_dates(context.lake, context.spec)
    return read | _realised(context, changed, scored) | record_scored(context, scored) | decide(context)


def labels(context: RunContext) -> dict[str, Any]:
    """Reads the labels of younger dates again; a failure is said, stops nothing, and is made good by the next run."""
    changed, failure = read_labels_again(context, context.day, context.day)
    found: dict[str, Any] = {"labels_changed": [str(day) for day in changed]}
    return found | ({"labels_failed": failure} if failure else {})


def performance(context: RunContext) -> dict[str, Any]:
    """Computes the realised metrics of the scored days whose labels matured by this day, and of this day itself."""
    return _realised(context, (), scored_dates(context.lake, context.spec))


def _realised(context: RunContext, changed: Collection[date], scored: Collection[date]) -> dict[str, Any]:
    from tallywright.monitoring.maturity import RunDates, dates_due

    lake, spec, run = context.lake, context.spec, RunDates(context.day, [context.day])
    found = [realise_standing(context, due) for due in dates_due(lake, spec, run, scored, changed=changed)]
    return {"days": [day.model_dump(mode="json") for day in found[-_DAYS_IN_RESULT:]]}


def decide(context: RunContext) -> dict[str, Any]:
    """Makes the retraining decision of the day; `act` is true only once, for the newest day, where the run may act."""
    from tallywright.monitoring.actions import claim_action
    from tallywright.monitoring.decisions import decide as fold_day
    from tallywright.monitoring.policy import state_word

    decision = fold_day(context.lake, context.spec, context.day)
    act = claim_action(context.lake, context.spec, decision, act=context.options.act, run_id=context.run_id)
    return {
        "state": state_word(decision.state, decision.reasons),
        "retrain": decision.retrain,
        "act": act,
        "reasons": list(decision.reasons),
        "decision_id": decision.decision_id,
        "train_as_of": str(context.spec.schedule.calendar.last_date(context.day) + timedelta(days=1)),
    }


def watch(context: RunContext) -> dict[str, Any]:
    """Looks at every due period back to the last scored date, records what became of it, and folds the decisions.

    Raises:
        InputError: Periods that were not scored, which alerts about runs that failed or never started; names them.
    """
    from tallywright.monitoring.decisions import decide_days

    lake, spec = context.lake, context.spec
    scored = scored_dates(lake, spec)
    unscored = record_due(context, scored)
    decide_days(lake, spec, [])
    if unscored:
        raise unscored_error(context, unscored)
    if not spec.schedule.calendar.is_open(context.day) and context.day not in scored:
        return {"score_date": str(context.day), "action": "closed"}
    tally = require_tally(lake, spec, context.day)
    require_standing(lake, spec, tally)
    manifest = tally.manifest
    return {"score_date": str(context.day), "generation": manifest.generation, "rows": manifest.rows}
