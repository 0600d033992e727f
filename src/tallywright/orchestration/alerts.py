"""Alerts about failures: a log line always, and a webhook when the overlay names the variable with its address.

Late and missed days need no callback of their own. `<model>__watch` runs at the deadline and fails when the day has no
tally, whether its run is late, failed, or was never created; that failure arrives here like any other. (Airflow's
`DeadlineAlert` hangs on a run that exists, and fires for every run of a backfill of past days.)
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tallywright.observability import log

if TYPE_CHECKING:
    from tallywright.spec import ModelSpec, Project

TIMEOUT_SECONDS: Final = 10
_LONGEST_REASON: Final = 1000

Callback = Callable[[Mapping[str, Any]], None]


def failure_alert(project: Project) -> Callback:
    """The `on_failure_callback` of a model's tasks; it never raises, for an alert must not hide the failure."""
    spec, variable = project.spec, project.environment.alerts.variable_of(project.spec.name)

    def alert(context: Mapping[str, Any]) -> None:
        notify(message_of(spec, context), variable, log_it=spec.alerts.log)

    return alert


def message_of(spec: ModelSpec, context: Mapping[str, Any]) -> dict[str, str]:
    """The text of an alert: what failed, of which model, its owner, and the log; no parameters, no data."""
    instance = context.get("task_instance") or context.get("ti")
    reason = str(context.get("exception") or context.get("reason") or "no reason was given")
    task = str(getattr(instance, "task_id", ""))
    return {
        "event": "missed_deadline" if task == "watch" else "task_failed",
        "model": spec.name,
        "dag": str(getattr(instance, "dag_id", "")),
        "task": task,
        "run": str(getattr(instance, "run_id", "")),
        "owner": f"{spec.owner.name} <{spec.owner.email}>",
        "log": str(getattr(instance, "log_url", "")),
        "reason": reason[:_LONGEST_REASON],
    }


def notify(message: Mapping[str, str], variable: str, *, log_it: bool = True) -> None:
    """Writes the message to the log and posts it; the webhook's address is read from the environment at that moment.

    Args:
        message: What failed.
        variable: The environment variable with the address; empty posts nothing.
        log_it: False where the spec wants no log line.
    """
    if log_it:
        log.error("ALERT %s", json.dumps(dict(message)))
    if not variable:
        return
    address = os.environ.get(variable, "")
    if not address.startswith(("https://", "http://")):
        log.warning("alert not posted: $%s holds no http(s) address", variable)
        return
    try:
        _post(address, message)
    except Exception as error:  # noqa: BLE001 - the failure that is reported matters more than the report
        log.warning("alert not posted to the address in $%s: %s", variable, type(error).__name__)


def _post(address: str, message: Mapping[str, str]) -> None:
    body = json.dumps({"text": f"{message['model']}: {message['task']} failed: {message['reason']}", **message})
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked by `notify`
        address, data=body.encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310 - as above
        pass
