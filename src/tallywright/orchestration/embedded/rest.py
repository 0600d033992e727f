"""A client for the few calls of Airflow's REST API that the demo and the tests make."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tallywright.errors import TallyError

if TYPE_CHECKING:
    from collections.abc import Collection

_NO_ANSWER: Final = 504
# Longer than SQLite's own patience with a lock (sqlite.py): who waits for its turn there still answers.
_TIMEOUT_SECONDS: Final = 90
_UNAUTHORIZED: Final = 401
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_BUSY: Final = 503
_ATTEMPTS: Final = 8


class RestError(TallyError):
    """A response that is not a success."""

    def __init__(self, status: int, text: str, where: str) -> None:
        super().__init__(f"{where}: HTTP {status}: {text[:500]}")
        self.status = status
        self._given = (status, text[:500], where)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self._given)


@dataclass(slots=True)
class AirflowRest:
    """A client signed in to an API server as one user."""

    address: str
    user: str
    password: str
    timeout_seconds: float = _TIMEOUT_SECONDS
    _token: str = field(default="", init=False)
    _opener: urllib.request.OpenerDirector = field(
        default_factory=lambda: urllib.request.build_opener(urllib.request.ProxyHandler({})), init=False
    )

    def healthy(self) -> bool:
        """True when the database, the scheduler and the DAG processor are healthy."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health", None)
        except (OSError, RestError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "dag_processor")
        return all((answer.get(part) or {}).get("status") == "healthy" for part in parts)

    def call(
        self, method: str, path: str, body: object = None, *, repeatable: bool = False, **query: object
    ) -> dict[str, Any]:
        """One call under `/api/v2`; signs in when needed, and is patient with a locked SQLite.

        A call without an answer may have been done: it is made again where it only reads, or where it is `repeatable`,
        so that doing it twice is the same as once or is told by a status of its own.

        Raises:
            RestError: Any other answer than a success; 504 where there was none.
        """
        patient = (_BUSY, _NO_ANSWER) if repeatable or method == "GET" else (_BUSY,)
        text = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)
        target = f"/api/v2{path}" + (f"?{text}" if text else "")
        for attempt in range(_ATTEMPTS):
            try:
                if not self._token:
                    self.sign_in()
                return self._send(method, target, body)
            except RestError as error:
                if error.status == _UNAUTHORIZED:
                    self._token = ""
                elif error.status not in patient:
                    raise
                if attempt == _ATTEMPTS - 1:
                    raise
            time.sleep(0.3 * (attempt + 1))
        raise AssertionError

    def has_dag(self, dag_id: str) -> bool:
        """True when the DAG has been parsed and its serialized form can be triggered."""
        try:
            return not self.call("GET", f"/dags/{dag_id}/details").get("is_stale", False)
        except RestError as error:
            if error.status == _NOT_FOUND:
                return False
            raise

    def is_paused(self, dag_id: str) -> bool:
        """True when the DAG's runs wait."""
        return bool(self.call("GET", f"/dags/{dag_id}")["is_paused"])

    def unpause(self, dag_id: str) -> None:
        """Lets the DAG's runs start."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": False}, repeatable=True)

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Makes or changes a pool."""
        rest = {"slots": slots, "description": description, "include_deferred": False}
        try:
            self.call("POST", "/pools", {"name": name, **rest}, repeatable=True)
        except RestError as error:
            if error.status != _CONFLICT:
                raise
            self.call("PATCH", f"/pools/{name}", {"pool": name, **rest}, repeatable=True)

    def trigger(self, dag_id: str, params: dict[str, Any]) -> str:
        """Starts a run with these form values and returns its id; the run has no logical date."""
        # An id of our own: asked for again after a lost answer, it is a conflict and no second run.
        run_id = f"manual__{datetime.now(UTC).isoformat()}_{uuid.uuid4().hex[:8]}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": params}
        try:
            self.call("POST", f"/dags/{dag_id}/dagRuns", body, repeatable=True)
        except RestError as error:
            if error.status != _CONFLICT:
                raise
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The state of a run."""
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """The state of every task of a run by task id; a task that waits has the state `none`."""
        path = f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}/taskInstances"
        return {
            task["task_id"]: task["state"] or "none" for task in self.call("GET", path, limit=100)["task_instances"]
        }

    def run_task_states(self, dag_id: str, run_ids: Collection[str]) -> list[tuple[str, str, str]]:
        """Run id, task id and state of every task of these runs (up to 100 tasks), in the order they started."""
        found = self.call("GET", f"/dags/{dag_id}/dagRuns/~/taskInstances", limit=100, order_by="start_date")
        return [
            (task["dag_run_id"], task["task_id"], task["state"] or "none")
            for task in found["task_instances"]
            if task["dag_run_id"] in run_ids
        ]

    def task_log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """The log of an attempt, as the UI shows it, one event a line."""
        run = urllib.parse.quote(run_id, safe="")
        path = f"/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/logs/{attempt}"
        events = self.call("GET", path, full_content="true").get("content", [])
        return "\n".join(str(event.get("event", event)) if isinstance(event, dict) else str(event) for event in events)

    def runs(self, dag_id: str, run_type: str | None = None) -> list[dict[str, Any]]:
        """Up to 100 runs of a DAG (of one type), newest logical date last."""
        found = self.call("GET", f"/dags/{dag_id}/dagRuns", limit=100, order_by="logical_date", run_type=run_type)
        return list(found["dag_runs"])

    def has_active_backfill(self, dag_id: str) -> bool:
        """True while a backfill of the DAG counts as running; Airflow notices its end up to half a minute late."""
        found = self.call("GET", "/backfills", dag_id=dag_id, limit=100)["backfills"]
        return any(backfill["completed_at"] is None for backfill in found)

    def sign_in(self) -> str:
        """Signs in anew and gives the token, which is also what a browser's cookie holds."""
        credentials = {"username": self.user, "password": self.password}
        self._token = str(self._send("POST", "/auth/token", credentials)["access_token"])
        return self._token

    def _send(self, method: str, target: str, body: object) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + target, data=data, headers=headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self.timeout_seconds) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise RestError(error.code, error.read().decode(errors="replace"), f"{method} {target}") from error
        except TimeoutError as error:
            raise RestError(_NO_ANSWER, f"no answer within {self.timeout_seconds:g} s", f"{method} {target}") from error
        parsed = json.loads(text) if text else {}
        return parsed if isinstance(parsed, dict) else {"value": parsed}
