"""A person's answer in the Airflow UI, sealed on its way from the task that asks to the task that promotes.

What a task returned can be written anew by whoever may edit XComs, and a task that waits can be marked a success.
Neither is an answer: the seal is made by the process that Airflow resumes with the answer and its authenticated user,
by a secret of the deployment that no user of the UI or of the API can read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from tallywright.orchestration.params import REASON_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping

SEAL: Final = "seal"
COMMENT: Final = "comment"
"""The field of the form."""
YES: Final = "Approve"
REGISTER: Final = "register"
"""The task whose version is asked about."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval that was told from a forged one: by whom, and their comment."""

    by: str
    comment: str


def is_yes(answered: Mapping[str, Any]) -> bool:
    """True for an approval and nothing else."""
    return list(answered.get("chosen_options") or ()) == [YES]


def user_of(answered: Mapping[str, Any]) -> str:
    """The user who answered, as Airflow has authenticated them; empty where it names none."""
    user = answered.get("responded_by_user") or {}
    return str((user.get("name") if isinstance(user, dict) else getattr(user, "name", None)) or "")


def comment_of(answered: Mapping[str, Any]) -> str:
    """The comment in the form; empty where nobody wrote one, or not as the form asks for."""
    given = answered.get("params_input") or {}
    comment = given.get(COMMENT) if isinstance(given, dict) else None
    # An answer by the API may have the field's whole definition in its place.
    comment = comment.get("value") if isinstance(comment, dict) else comment
    return comment.strip() if isinstance(comment, str) and re.fullmatch(REASON_PATTERN, comment) else ""


def approval_of(context: Mapping[str, Any], dag: str, task: str) -> Approval:
    """The approval that was given in the approval task of this run.

    Raises:
        AirflowFailException: Nobody said yes, or what stands there was not written by that task.
    """
    answered = context["ti"].xcom_pull(task_ids=task) or {}
    name = user_of(answered)
    if not name or not is_yes(answered):
        raise AirflowFailException("the approval does not say who approved; promotion needs a name")
    found = str(answered.get(SEAL) or "")
    if not any(hmac.compare_digest(found, seal) for seal in seals(context, dag, task, answered)):
        raise AirflowFailException(
            f"the approval by {name!r} was not written by the task {task}; expected: an answer to this run's question "
            "about this version, in the UI or by the API; clear the task, so that it asks again"
        )
    return Approval(name, comment_of(answered))


def seals(context: Mapping[str, Any], dag: str, task: str, answered: Mapping[str, Any]) -> list[str]:
    """The seal by each secret of the deployment; it seals with the first and knows the others, as keys are rotated.

    It is about the version that the run has registered: a yes does not outlast the question, where tasks are run again.
    """
    registered = context["ti"].xcom_pull(task_ids=REGISTER)
    about = [registered.get(name) for name in ("version", "digest")] if isinstance(registered, dict) else []
    said = ["tallywright approval in Airflow 2", dag, context["dag_run"].run_id, task, user_of(answered)]
    text = json.dumps([*said, comment_of(answered), *map(str, about)]).encode()
    return [hmac.new(secret, text, hashlib.sha256).hexdigest() for secret in secrets()]


def secrets() -> list[bytes]:
    """The secrets of the deployment.

    Raises:
        AirflowFailException: It has none, so that no answer could be told from a forged one.
    """
    found = [key.strip().encode() for key in str(conf.get("core", "fernet_key", fallback="") or "").split(",")]
    if not any(found):
        raise AirflowFailException(
            "an approval cannot be told from a forged one: core.fernet_key is empty; expected: Airflow's secret key, "
            "the same in all workers (AIRFLOW__CORE__FERNET_KEY)"
        )
    return [key for key in found if key]
