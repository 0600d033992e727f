"""The steps after a day was scored, and of the watch: late labels, realised metrics, periods, decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tallywright.lifecycle.late_labels import Unrealised, read_labels_again, realise_all, unrealised_error
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
    """Reads late labels, realises the days whose labels matured, records the periods, makes the day's decision.

    Raises:
        TallyError: A date could not be realised. All else is done by then, but for what a red task cannot start: no
            training is claimed and no missed period is chosen, so that the repeat of the task does both.
    """
    read = labels(context)
    changed = [context.spec.schedule.calendar.parse(day) for day in read["labels_changed"]]
    scored = scored_dates(context.lake, context.spec)
    found, failed = _realised(context, changed, scored)
    if failed:
        context = replace(context, options=replace(context.options, act=False))
    done = read | found | record_scored(context, scored) | decide(context)
    if failed:
        raise unrealised_error(context.spec.name, failed)
    return done


def labels(context: RunContext) -> dict[str, Any]:
    """Reads the labels of younger dates again; a failure is said, stops nothing, and is made good by the next run."""
    changed, failure = read_labels_again(context, context.day, context.day)
    found: dict[str, Any] = {"labels_changed": [str(day) for day in changed]}
    return found | ({"labels_failed": failure} if failure else {})


def performance(context: RunContext) -> dict[str, Any]:
    """Computes the realised metrics of the scored days whose labels matured by this day, and of this day itself.

    Raises:
        TallyError: A date could not be realised; the others are.
    """
    found, failed = _realised(context, (), scored_dates(context.lake, context.spec))
    if failed:
        raise unrealised_error(context.spec.name, failed)
    return found


def _realised(
    context: RunContext, changed: Collection[date], scored: Collection[date]
) -> tuple[dict[str, Any], list[Unrealised]]:
    """What was realised, as a result; and the dates that could not be."""
    from tallywright.monitoring.maturity import RunDates, dates_due

    lake, spec, run = context.lake, context.spec, RunDates(context.day, [context.day])
    found, failed = realise_all(context, dates_due(lake, spec, run, scored, changed=changed))
    return {"days": [day.model_dump(mode="json") for day in found[-_DAYS_IN_RESULT:]]}, failed


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
