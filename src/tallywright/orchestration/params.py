"""DAG params: the typed trigger form of each pipeline, and how a run's values become command options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Param

from tallywright.errors import UsageError
from tallywright.lifecycle.plan import Pipeline
from tallywright.orchestration.dates import DATE_PATTERN, HOUR_PATTERN, parse_date, parse_period
from tallywright.spec.calendar import EVERY_DAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.spec import ModelSpec
    from tallywright.spec.calendar import Calendar

REASON_PATTERN: Final = r"^[^\x00-\x1f\x7f]{0,300}$"
_REASON = re.compile(r"[^\x00-\x1f\x7f]{0,300}")
_ENVIRONMENT = re.compile(r"\w[\w.-]{0,99}")
_NAME = re.compile(r"[\w.@+ -]{1,100}")
_DECIDED_BY_PERSON: Final = (Pipeline.PROMOTE, Pipeline.ROLLBACK)


def form(spec: ModelSpec, pipeline: Pipeline, trained_in: str = "") -> dict[str, Param]:
    """The fields of a DAG's trigger form; Airflow checks answers against them before a run exists.

    Args:
        spec: The model.
        pipeline: Whose DAG.
        trained_in: The environment that versions arrive from; empty with one registry.
    """
    asked = _period if pipeline.is_about_periods and spec.is_hourly else _date
    fields = {"date": asked(_title(spec, pipeline), _bounds(spec, pipeline))}
    if pipeline is Pipeline.BACKFILL:
        noun = _noun(spec)
        fields["to"] = asked(f"Last {noun}", "Inclusive; each one gets the model that was champion on it.")
        fields["force"] = Param(
            False,
            type="boolean",
            title="Score again",
            description="Also days whose inputs are equal; without it they are left alone.",
        )
    if pipeline in (Pipeline.TRAIN, *_DECIDED_BY_PERSON):
        fields["effective_from"] = _date(
            "Effective from", "The first score date the champion holds for; empty: the date above."
        )
    if pipeline is Pipeline.PROMOTE:
        fields["version"] = Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Model version",
            description="The registered version to promote; its recorded gates decide whether it may be.",
        )
    if pipeline is Pipeline.PROMOTE and trained_in:
        fields["from"] = Param(
            trained_in,
            type=["null", "string"],
            enum=[trained_in, None],
            title="Whose number that is",
            description=f"{trained_in}: the version is copied from there first, with its evidence. None: it is here.",
        )
    if pipeline in (Pipeline.TRAIN, *_DECIDED_BY_PERSON):
        fields["reason"] = Param(
            "", type="string", pattern=REASON_PATTERN, title="Reason", description="Why; it is kept for the audit."
        )
    if pipeline is Pipeline.MAINTAIN:
        fields["dry_run"] = Param(
            False, type="boolean", title="Dry run", description="Say what would be done, and change nothing."
        )
    return fields


def options(
    pipeline: Pipeline, context: Mapping[str, Any], *, acts: bool, calendar: Calendar = EVERY_DAY
) -> dict[str, str | bool]:
    """The options of one step's command line for this run.

    Raises:
        UsageError: An answer that is not what the form asks for, however it got past Airflow's own check.
    """
    params = context.get("params") or {}
    run = context.get("dag_run")
    found: dict[str, str | bool] = {}
    if params.get("effective_from"):
        found["effective-from"] = parse_date(params["effective_from"], "params.effective_from").isoformat()
    if pipeline is Pipeline.BACKFILL:
        found["to"] = parse_period(params.get("to"), "params.to", calendar).isoformat()
        found["force"] = params.get("force") is True
    if pipeline is Pipeline.PROMOTE:
        found["version"] = _version(params.get("version"))
        if params.get("from"):
            found["from"] = _environment(params["from"])
    if pipeline in _DECIDED_BY_PERSON:
        found["by"] = _name(getattr(run, "triggering_user_name", None))
        found["reason"] = _reason(params.get("reason"))
    if pipeline is Pipeline.TRAIN and params.get("reason"):
        found["reason"] = _reason(params["reason"])
    if pipeline is Pipeline.MAINTAIN:
        found["dry-run"] = _flag(params.get("dry_run"), "dry_run")
    if acts:
        found["act"] = not is_backfill(run)
    return found


def authenticated_user(pipeline: Pipeline, context: Mapping[str, Any]) -> str:
    """The user who triggered a run that a person decides about; empty where Airflow knows none."""
    return triggering_user(context) if pipeline is Pipeline.PROMOTE else ""


def triggering_user(context: Mapping[str, Any]) -> str:
    """The user who triggered a run, as Airflow has authenticated them; empty where it knows none."""
    name = getattr(context.get("dag_run"), "triggering_user_name", None)
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def is_backfill(run: object) -> bool:
    """True for a run of a backfill: it writes decisions and acts on none."""
    return str(getattr(getattr(run, "run_type", ""), "value", getattr(run, "run_type", ""))) == "backfill"


_DATE_TITLES: Final = {
    Pipeline.TRAIN: "As-of date (data up to the day before it are used)",
    Pipeline.PROMOTE: "Date of the decision",
    Pipeline.ROLLBACK: "Date of the decision",
    Pipeline.MAINTAIN: "Date of the run (any of the schedule; maintenance looks at the clock)",
}


def _noun(spec: ModelSpec) -> str:
    """What a score period is called in a form."""
    noun = spec.schedule.calendar.noun
    return "score date" if noun == "day" else f"score {noun}"


def _title(spec: ModelSpec, pipeline: Pipeline) -> str:
    noun = _noun(spec)
    about = {
        Pipeline.SCORE: noun.capitalize(),
        Pipeline.BACKFILL: f"First {noun}",
        Pipeline.WATCH: f"{noun.capitalize()} that is due",
    }
    return about.get(pipeline) or _DATE_TITLES[pipeline]


def _period(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], pattern=HOUR_PATTERN, title=title, description=description)


def _date(title: str, description: str) -> Param:
    return Param(
        None, type=["null", "string"], format="date", pattern=DATE_PATTERN, title=title, description=description
    )


def _bounds(spec: ModelSpec, pipeline: Pipeline) -> str:
    schedule, calendar = spec.schedule, spec.schedule.calendar
    of_periods = pipeline.is_about_periods and calendar.cadence != "day"
    form, name = (calendar.form, calendar.cadence) if of_periods else ("YYYY-MM-DD", "day")
    return (
        f"{form}, from {schedule.start_date} to {schedule.end_date or 'now on'} ({schedule.timezone}). "
        f"Empty: the {name} of the run's data interval."
    )


def _version(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return str(value)
    raise UsageError(f"params.version: found {value!r}", expected="the number of a registered version, such as 3")


def _environment(value: object) -> str:
    if isinstance(value, str) and _ENVIRONMENT.fullmatch(value):
        return value
    raise UsageError(f"params.from: found {value!r}", expected="the name of an environment, such as dev")


def _flag(value: object, name: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise UsageError(f"params.{name}: found {value!r}", expected="true or false")


def _reason(value: object) -> str:
    text = "" if value is None else value
    if isinstance(text, str) and _REASON.fullmatch(text):
        return text
    raise UsageError("params.reason: found control characters or too long a text", expected="one line of up to 300")


def _name(value: object) -> str:
    """The user who triggered the run, as Airflow authenticated them; never a form field."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else "airflow"
