"""The operators that start another DAG: training where a decision asks for it, the backfill after an outage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tallywright.errors import UsageError
from tallywright.lifecycle.plan import Pipeline
from tallywright.orchestration.dates import RunFacts, dated, parse_period, run_period
from tallywright.orchestration.params import is_backfill, options
from tallywright.records import VersionVerdict
from tallywright.score_period import compact

if TYPE_CHECKING:
    from datetime import date

    from tallywright.spec import ModelSpec


class TrainTrigger(TriggerDagRunOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Starts `<model>__train` when the decision of this run asks for it; skipped in a backfill and on other days.

    The new run's id is made of the decision's, so that a decision starts one training however often it is made again.

    Args:
        spec: Whose train DAG.
        decided_by: The task whose result is the decision.
    """

    template_fields = ()
    ui_color = "#fdf1dc"

    def __init__(self, *, spec: ModelSpec, decided_by: str, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id=f"{spec.name}__train", skip_when_already_exists=True, logical_date=None, **kwargs
        )
        self.schedule_section = spec.schedule
        self.decided_by = decided_by

    def execute(self, context: Mapping[str, Any]) -> None:
        """Skips, or starts the train DAG as of the day after the score period."""
        if is_backfill(context["dag_run"]):
            raise AirflowSkipException("a backfill run writes decisions and acts on none")
        decision = context["ti"].xcom_pull(task_ids=self.decided_by)
        if not isinstance(decision, Mapping) or decision.get("act") is not True:
            raise AirflowSkipException("the decision asks for no training")
        try:
            day = run_period(RunFacts.of(context), self.schedule_section)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        as_of = self.schedule_section.calendar.last_date(day) + timedelta(days=1)
        if not self.schedule_section.covers(as_of):
            raise AirflowSkipException(f"{as_of} is past the schedule's end: there is nothing to train for")
        self.trigger_run_id = _run_id(decision, day)
        self.conf = {"date": as_of.isoformat(), "effective_from": as_of.isoformat()}
        self.log.info("the decision of %s starts %s as of %s", day, self.trigger_dag_id, as_of)
        super().execute(context)


class BackfillTrigger(TriggerDagRunOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Starts `<model>__backfill` for the periods that an outage left out; skipped where the newest run found none.

    The new run's id is made of the range, so that a range is started once, however often the run is repeated.

    Args:
        spec: Whose backfill DAG.
        decided_by: The task whose result names the range.
    """

    template_fields = ()
    ui_color = "#fdf1dc"

    def __init__(self, *, spec: ModelSpec, decided_by: str, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id=f"{spec.name}__backfill", skip_when_already_exists=True, logical_date=None, **kwargs
        )
        self.schedule_section = spec.schedule
        self.decided_by = decided_by

    def execute(self, context: Mapping[str, Any]) -> None:
        """Skips, or starts the backfill DAG for the range."""
        if is_backfill(context["dag_run"]):
            raise AirflowSkipException("a backfill run looks for no missed periods")
        result = context["ti"].xcom_pull(task_ids=self.decided_by)
        missed = result.get("catch_up") if isinstance(result, Mapping) else None
        if not missed:
            raise AirflowSkipException("no period was missed")
        try:
            calendar = self.schedule_section.calendar
            first, last = (parse_period(missed.get(end), f"catch_up.{end}", calendar) for end in ("from", "to"))
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        self.trigger_run_id = f"catch_up_{compact(first)}_{compact(last)}"
        self.conf = {"date": first.isoformat(), "to": last.isoformat()}
        self.log.info("%s to %s were not scored: %s starts", first, last, self.trigger_dag_id)
        super().execute(context)


class PromoteTrigger(TriggerDagRunOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Starts `<model>__promote` for the version that a training has registered elsewhere, if its gates passed.

    The new run's id is made of the package's digest, so that a version is taken over once, however often it is trained.

    Args:
        spec: Whose promote DAG.
        decided_by: The task whose result is the version.
        source: The environment in whose registry it is.
    """

    template_fields = ()
    ui_color = "#fdf1dc"

    def __init__(self, *, spec: ModelSpec, decided_by: str, source: str, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id=f"{spec.name}__promote", skip_when_already_exists=True, logical_date=None, **kwargs
        )
        self.schedule_section = spec.schedule
        self.decided_by = decided_by
        self.source = source

    def execute(self, context: Mapping[str, Any]) -> None:
        """Skips, or starts the promote DAG from the date on that this run was given."""
        registered = context["ti"].xcom_pull(task_ids=self.decided_by)
        if not isinstance(registered, Mapping) or registered.get("verdict") != VersionVerdict.PASSED:
            raise AirflowSkipException("no version that has passed its gates was registered")
        try:
            day, _ = dated(RunFacts.of(context), self.schedule_section, periodic=False)
            asked = options(Pipeline.TRAIN, context, acts=False)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        self.trigger_run_id = f"arrival_{str(registered['digest'])[:32]}"
        self.conf = {
            "date": day.isoformat(),
            "effective_from": asked.get("effective-from", day.isoformat()),
            "version": int(registered["version"]),
            "from": self.source,
            "reason": asked.get("reason", ""),
        }
        self.log.info("version %s of %s starts %s", registered["version"], self.source, self.trigger_dag_id)
        super().execute(context)


def _run_id(decision: Mapping[str, Any], day: date) -> str:
    identity = "".join(letter for letter in str(decision.get("decision_id", "")) if letter.isalnum())[:32]
    return f"decision_{compact(day)}_{identity}".rstrip("_")
