"""The approval task: a person's answer in the Airflow UI, sealed on its way to the task that promotes.

What a task returned can be written anew by whoever may edit XComs, and a task that waits can be marked a success.
Neither is an answer: the seal is made by the process that Airflow resumes with the answer and its authenticated user,
by a secret of the deployment that no user of the UI or of the API can read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallywright.lifecycle.plan import Step
    from tallywright.spec import ModelSpec

_SEAL: Final = "seal"
_REGISTER: Final = "register"
"""The task whose version is asked about."""


class SealedApproval(ApprovalOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Asks for Approve or Reject; what it returns can be told from what somebody else wrote in its place."""

    def execute(self, context: Mapping[str, Any]) -> None:
        """Asks; fails before that where no answer could be sealed."""
        _secrets()
        super().execute(context)

    def execute_complete(self, context: Mapping[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """The answer as Airflow hands it over, and its seal; on Reject what follows is skipped."""
        answered = dict(super().execute_complete(context, event))
        seal = _seals(context, self.dag_id, self.task_id, _user(answered))[0]
        return answered | ({_SEAL: seal} if _is_yes(answered) else {})


def approval(spec: ModelSpec, step: Step, common: Mapping[str, Any]) -> SealedApproval:
    """Makes the task that waits for Approve or Reject; it has no default, so a timeout fails and never approves.

    The summary shows what the gates said. Rejecting is a success that skips the promotion.
    """
    users = [{"id": name, "name": name} for name in spec.registry.approvers]
    return SealedApproval(
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


def approver(context: Mapping[str, Any], dag: str, task: str) -> str:
    """The user who said yes in the approval task of this run.

    Raises:
        AirflowFailException: Nobody did, or what stands there was not written by that task.
    """
    answered = context["ti"].xcom_pull(task_ids=task) or {}
    name = _user(answered)
    if not name or not _is_yes(answered):
        raise AirflowFailException("the approval does not say who approved; promotion needs a name")
    found = str(answered.get(_SEAL) or "")
    if not any(hmac.compare_digest(found, seal) for seal in _seals(context, dag, task, name)):
        raise AirflowFailException(
            f"the approval by {name!r} was not written by the task {task}; expected: an answer to this run's question "
            "about this version, in the UI or by the API; clear the task, so that it asks again"
        )
    return name


def _user(answered: Mapping[str, Any]) -> str:
    user = answered.get("responded_by_user") or {}
    return str((user.get("name") if isinstance(user, dict) else getattr(user, "name", None)) or "")


def _is_yes(answered: Mapping[str, Any]) -> bool:
    return list(answered.get("chosen_options") or ()) == [ApprovalOperator.APPROVE]


def _seals(context: Mapping[str, Any], dag: str, task: str, user: str) -> list[str]:
    """The seal by each secret of the deployment; it seals with the first and knows the others, as keys are rotated.

    It is about the version that the run has registered: a yes does not outlast the question, where tasks are run again.
    """
    registered = context["ti"].xcom_pull(task_ids=_REGISTER)
    about = [registered.get(name) for name in ("version", "digest")] if isinstance(registered, dict) else []
    said = ["tallywright approval in Airflow 1", dag, context["dag_run"].run_id, task, user, *map(str, about)]
    text = json.dumps(said).encode()
    return [hmac.new(secret, text, hashlib.sha256).hexdigest() for secret in _secrets()]


def _secrets() -> list[bytes]:
    found = [key.strip().encode() for key in str(conf.get("core", "fernet_key", fallback="") or "").split(",")]
    if not any(found):
        raise AirflowFailException(
            "an approval cannot be told from a forged one: core.fernet_key is empty; expected: Airflow's secret key, "
            "the same in all workers (AIRFLOW__CORE__FERNET_KEY)"
        )
    return [key for key in found if key]
