"""The steps that only Airflow can carry out: a person's approval, and starting the train DAG."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tallywright.errors import UsageError
from tallywright.orchestration.dates import RunFacts, run_date
from tallywright.orchestration.forms import is_backfill

if TYPE_CHECKING:
    from tallywright.lifecycle.plan import Step
    from tallywright.spec import ModelSpec

DECIDE_TASK: Final = "decide"


def approval(spec: ModelSpec, step: Step, common: Mapping[str, Any]) -> ApprovalOperator:
    """The task that waits for Approve or Reject; it has no default, so silence fails and never approves.

    The summary shows what the gates said. Rejecting is a success that skips the promotion.
    """
    users = [{"id": name, "name": name} for name in spec.registry.approvers]
    return ApprovalOperator(
        task_id=step.name,
        subject=f"Promote a new version of {spec.name}?",
        body="Registered: {{ ti.xcom_pull(task_ids='register') }}\n\n"
        "Quality gate: {{ ti.xcom_pull(task_ids='quality_gate') }}\n\n"
        "Operations gate: {{ ti.xcom_pull(task_ids='operations_gate') }}",
        response_timeout=step.timeout,
        assigned_users=users or None,
        doc_md=step.help,
        **common,
    )


class TrainTrigger(TriggerDagRunOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Starts `<model>__train` when the decision of this run says so; in a backfill, and on quiet days, it is skipped.

    The new run's id is made of the decision's, so that a decision starts one training however often it is made again.
    """

    template_fields = ()
    ui_color = "#fdf1dc"

    def __init__(self, *, spec: ModelSpec, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id=f"{spec.name}__train", skip_when_already_exists=True, logical_date=None, **kwargs
        )
        self.schedule_section = spec.schedule

    def execute(self, context: Mapping[str, Any]) -> None:
        """Skips, or starts the train DAG as of the day after the score date."""
        if is_backfill(context["dag_run"]):
            raise AirflowSkipException("a backfill run writes decisions and acts on none")
        decision = context["ti"].xcom_pull(task_ids=DECIDE_TASK)
        if not isinstance(decision, Mapping) or decision.get("act") is not True:
            raise AirflowSkipException("the decision asks for no training")
        try:
            day = run_date(RunFacts.of(context), self.schedule_section)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        as_of = day + timedelta(days=1)
        if not self.schedule_section.covers(as_of):
            raise AirflowSkipException(f"{as_of} is past the schedule's end: there is nothing to train for")
        self.trigger_run_id = _run_id(decision, day)
        self.conf = {"date": as_of.isoformat(), "effective_from": as_of.isoformat()}
        self.log.info("the decision of %s starts %s as of %s", day, self.trigger_dag_id, as_of)
        super().execute(context)


def _run_id(decision: Mapping[str, Any], day: date) -> str:
    identity = "".join(letter for letter in str(decision.get("decision_id", "")) if letter.isalnum())[:32]
    return f"decision_{day:%Y%m%d}_{identity}".rstrip("_")
