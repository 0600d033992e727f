"""The approval task: asks a person in the Airflow UI whether a version is promoted, and seals or records the answer.

What a task returned can be written anew by whoever may edit XComs, and a task that waits can be marked a success.
Neither is an answer: the seal is made by the process that Airflow resumes with the answer and its authenticated user,
by a secret of the deployment that no user of the UI or of the API can read. A no goes into the promotion log.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tallywright.errors import UsageError
from tallywright.lifecycle.plan import Pipeline
from tallywright.orchestration import params
from tallywright.orchestration.approval import COMMENT, REGISTER, SEAL, comment_of, is_yes, seals, secrets, user_of
from tallywright.orchestration.command import GuardedProcess
from tallywright.orchestration.connections import with_credentials
from tallywright.orchestration.dates import RunFacts, dated
from tallywright.orchestration.operator import failure, read_result, run_logged
from tallywright.records import VersionVerdict
from tallywright.registry.approval.authentication import ANSWER_VARIABLE, Request, answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.lifecycle.plan import Step
    from tallywright.orchestration.command import StepCommand
    from tallywright.spec import ModelSpec
    from tallywright.spec.schedule import Schedule

_FORM, _REJECT = "approval_form", "reject"


class SealedApproval(ApprovalOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Asks for Approve or Reject; what it returns can be told from what somebody else wrote in its place.

    Args:
        commands: The command lines of the step's parts, by name: what the person is shown, and what records a no.
        schedule: The spec's schedule, by which the run's date is found.
    """

    template_fields = ("subject",)
    """Not the body: it has values that come from data."""

    def __init__(self, *, commands: Mapping[str, StepCommand], schedule: Schedule, **kwargs: Any) -> None:
        super().__init__(body="", **kwargs)
        self.commands = commands
        self.schedule_section = schedule

    def execute(self, context: Mapping[str, Any]) -> None:
        """Asks; fails before that where no answer could be sealed, or what it is about cannot be shown.

        A version that is undecided scores in shadow: nobody is asked, and what follows is skipped.
        """
        registered = context["ti"].xcom_pull(task_ids=REGISTER)
        if isinstance(registered, dict) and registered.get("verdict") == VersionVerdict.UNDECIDED:
            raise AirflowSkipException(f"version {registered.get('version')} is undecided: it scores in shadow")
        secrets()
        self.body = str(self._run(context, _FORM, {})["body"])
        super().execute(context)

    def execute_complete(self, context: Mapping[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """The answer as Airflow hands it over, and its seal; a no is recorded, and what follows is skipped."""
        if event.get("chosen_options") == [self.REJECT]:
            self._record(context, event)  # first: what follows is skipped by an exception
        answered = dict(super().execute_complete(context, event))
        if is_yes(answered):
            return answered | {SEAL: seals(context, self.dag_id, self.task_id, answered)[0]}
        return answered

    def _record(self, context: Mapping[str, Any], answered: Mapping[str, Any]) -> None:
        """Writes a no to the promotion log, in the name of who answered."""
        registered = context["ti"].xcom_pull(task_ids=REGISTER)
        if not isinstance(registered, dict):
            raise AirflowFailException(f"the task {REGISTER} does not say which version was rejected")
        request = Request(
            model=self.commands[_REJECT].model,
            run_id=context["dag_run"].run_id,
            version=int(registered["version"]),
            effective_from="",
            by=user_of(answered).strip(),
            reason=comment_of(answered) or "rejected in Airflow",
            answer=_REJECT,
        )
        try:
            handed = answer(request, os.environ)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        options = {"version": str(request.version), "by": request.by, "reason": request.reason}
        self._run(context, _REJECT, options, {ANSWER_VARIABLE: handed})

    def _run(
        self,
        context: Mapping[str, Any],
        step: str,
        options: Mapping[str, str | bool],
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Runs a part of the step, and returns its result."""
        command = self.commands[step]
        try:
            day, _ = dated(RunFacts.of(context), self.schedule_section, periodic=False)
            asked = params.options(Pipeline.TRAIN, context, acts=False)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        with tempfile.TemporaryDirectory(prefix="tally-") as folder:
            result = Path(folder) / "result.json"
            # The first date is asked about; a no is about the version, whatever the date.
            dates = {"effective-from": asked["effective-from"]} if step == _FORM and "effective-from" in asked else {}
            argv = command.argv(day, context["dag_run"].run_id, result, {**dates, **options})
            known = with_credentials(command.environment(), command.connection) | dict(environment or {})
            exit_code, tail = run_logged(GuardedProcess(argv, known, command.root), self.log)
            if exit_code != 0:
                raise failure(step, exit_code, tail, final=True)
            return read_result(result, step)


def approval(
    spec: ModelSpec, step: Step, commands: Mapping[str, StepCommand], common: Mapping[str, Any]
) -> SealedApproval:
    """Makes the task that waits for Approve or Reject; it has no default, so a timeout fails and never approves.

    Rejecting is a success that skips the promotion.
    """
    users = [{"id": name, "name": name} for name in spec.registry.approvers]
    comment = Param(
        "", type="string", pattern=params.REASON_PATTERN, title="Comment",
        description="Why; it is kept in the promotion log and with the version.",
    )  # fmt: skip
    return SealedApproval(
        task_id=step.name,
        subject=f"Promote a new version of {spec.name}?",
        commands=commands,
        schedule=spec.schedule,
        params={COMMENT: comment},
        response_timeout=step.timeout,
        assigned_users=users or None,
        doc_md=step.help,
        **common,
    )
