"""The operator of all steps: a task is `tally run <model> <step> …` in a process of its own.

Airflow's environment needs the slim install only, a step's memory ends with the step, and a person can run the very
line that stands in the task's log.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tallywright.errors import UsageError
from tallywright.lifecycle.plan import Pipeline
from tallywright.orchestration import params
from tallywright.orchestration.approval import approval_of
from tallywright.orchestration.command import GuardedProcess, StepCommand, error_of, is_retryable
from tallywright.orchestration.connections import with_credentials, without_secrets
from tallywright.orchestration.dates import RunFacts, dated
from tallywright.registry.approval.authentication import ANSWER_VARIABLE, STARTED_BY_VARIABLE, Request, answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from tallywright.spec.schedule import Schedule

_LARGEST_RESULT: Final = 32_768
_LEVELLED: Final = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)")
_TAIL_LINES: Final = 12


class TallyOperator(BaseOperator):  # type: ignore[misc]  # airflow ships no types that mypy follows here
    """Runs one step as a command line and pushes its small JSON result.

    Nothing is templated: a parameter is read as a date, a number or one line of text, checked, and becomes one element
    of an argument list. Errors that a retry cannot cure fail the task at once.

    Args:
        command: Interpreter, project, model and step.
        pipeline: The pipeline the step stands in.
        schedule: The spec's schedule, by which the run's date is found and checked.
        acts: The step may claim the training that it decides on, where the run may act.
        approved_by: The task in which a person answered; empty where nobody is asked.
    """

    ui_color = "#e8f1ec"

    def __init__(
        self,
        *,
        command: StepCommand,
        pipeline: Pipeline,
        schedule: Schedule,
        acts: bool = False,
        approved_by: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.pipeline = pipeline
        self.schedule_section = schedule
        self.acts = acts
        self.approved_by = approved_by
        self._answer = ""
        self._started_by = ""
        self._scratch = Path()
        self._process: GuardedProcess | None = None

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the step; the result is the task's XCom."""
        with tempfile.TemporaryDirectory(prefix="tally-") as folder:
            self._scratch = Path(folder)
            result = self._scratch / "result.json"
            exit_code, tail = self._run(self._argv(context, result))
            if exit_code != 0:
                raise failure(self.command.step, exit_code, tail, final=_is_final(result))
            values = read_result(result, self.command.step)
        self._describe_outlets(context, values)
        return values

    def on_kill(self) -> None:
        """Ends the step's process group, gently first; Airflow calls this on a timeout and when a run is stopped."""
        if self._process is not None:
            self.log.warning("stopping the step's processes")
            self._process.ask_to_stop()

    def _argv(self, context: Mapping[str, Any], result: Path) -> list[str]:
        try:
            facts = RunFacts.of(context)
            day, source = dated(facts, self.schedule_section, periodic=self.pipeline.is_about_periods)
            options = params.options(self.pipeline, context, acts=self.acts, calendar=self.schedule_section.calendar)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("%s %s, from %s (%s)", self.pipeline.date_name, day, source, facts.shown(source))
        if self.approved_by:
            approval = approval_of(context, self.dag_id, self.approved_by)
            options |= {"by": approval.by, "reason": approval.comment or "approved in Airflow"}
        run_id = context["dag_run"].run_id
        self._started_by = params.triggering_user(context) if self.pipeline is Pipeline.TRAIN else ""
        self._answer = self._answered(day, run_id, options, params.authenticated_user(self.pipeline, context))
        return self.command.argv(day, run_id, result, options)

    def _answered(self, day: date, run_id: str, options: Mapping[str, Any], user: str) -> str:
        """The answer that the step is handed: of the person who approved, or who triggered the run; empty without."""
        if not self.approved_by and not user:
            return ""
        version = options.get("version")
        request = Request(
            model=self.command.model,
            run_id=run_id,
            version=int(version) if version else None,
            effective_from=str(options.get("effective-from") or day),
            by=str(options.get("by", "")).strip(),
            reason=str(options.get("reason", "")),
        )
        try:
            return answer(request, os.environ)
        except UsageError as error:
            raise AirflowFailException(str(error)) from error

    def _guarded(self, argv: list[str]) -> GuardedProcess:
        """The process that will run the step."""
        environment = with_credentials(self.command.environment(), self.command.connection)
        if self._answer:
            environment[ANSWER_VARIABLE] = self._answer
        if self._started_by:
            environment[STARTED_BY_VARIABLE] = self._started_by
        return GuardedProcess(argv, environment, self.command.root)

    def _secrets(self) -> tuple[str, ...]:
        """What must not be shown besides the credentials in the step's environment."""
        return ()

    def _run(self, argv: list[str]) -> tuple[int, list[str]]:
        self._process = self._guarded(argv)
        return run_logged(self._process, self.log, self._secrets())

    def _describe_outlets(self, context: Mapping[str, Any], values: dict[str, Any]) -> None:
        """Attaches the result (references, not data) to the asset event, for DAGs that the table triggers."""
        events = context.get("outlet_events")
        for asset in self.outlets or ():
            if events is not None:
                events[asset].extra = dict(values)


def run_logged(process: GuardedProcess, log: Any, secrets: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Runs a step to its end, its lines in the task's log; the exit code, and its last lines.

    Args:
        process: The step's.
        log: The task's logger.
        secrets: What must not be shown besides the credentials in the step's environment.
    """
    log.info("running: %s", without_secrets(shlex.join(_shown(process.argv)), {}, secrets))
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    _stop_when_orphaned(process)
    try:
        for printed in process.lines():
            line = without_secrets(printed, process.environment, secrets)
            tail.append(line)
            match = _LEVELLED.fullmatch(line)
            level, text = (logging.getLevelName(match[1]), match[2]) if match else (logging.INFO, line)
            log.log(level, "%s", text)
        return process.wait(), list(tail)
    finally:
        process.stop()


def _shown(argv: list[str]) -> list[str]:
    """A command line for the log: a property that follows `--conf` without its value."""
    after = zip(["", *argv], argv, strict=False)
    return [f"{word.partition('=')[0]}=***" if before == "--conf" else word for before, word in after]


def _stop_when_orphaned(process: GuardedProcess) -> None:
    """Ends the step soon after Airflow's supervisor of this task has died, as its result could not be recorded."""
    supervisor = os.getppid()

    def watch() -> None:
        while process.alive():
            if os.getppid() != supervisor:
                process.ask_to_stop()
                return
            threading.Event().wait(1.0)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


def _is_final(file: Path) -> bool:
    """True where the step itself has said that the same command would fail again."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))["error"]["retryable"] is False
    except (OSError, ValueError, KeyError, TypeError):
        return False


def failure(step: str, exit_code: int, tail: list[str], *, final: bool) -> Exception:
    """The exception of a task whose step has failed: `final` where the same command would fail again."""
    error = error_of(exit_code)
    cause = error.__name__ if error else "unexpected"
    text = "\n".join([f"{step} failed with exit code {exit_code} ({cause})", *tail])
    kind: type[Exception] = AirflowException if is_retryable(exit_code) and not final else AirflowFailException
    return kind(text)


def read_result(file: Path, step: str) -> dict[str, Any]:
    """The small result that a step has left.

    Raises:
        AirflowFailException: It has left none.
    """
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as error:
        raise AirflowFailException(f"{step} ended well but left no readable result: {error}") from error
    if not isinstance(values, dict) or len(text) > _LARGEST_RESULT:
        raise AirflowFailException(
            f"{step} left {type(values).__name__} of {len(text)} bytes; expected: a small JSON object, references only"
        )
    return values
