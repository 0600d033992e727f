"""The process that trains: it is given a job on standard input, and tells what it does and what came of it.

Its standard output is for these messages alone: file descriptor 1 is moved out of the way of whatever else writes
there, and means standard error from then on. It ends when the command that started it does: that one holds the other
end of standard input.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tallywright.errors import TallyError
from tallywright.memory import limit_allocators
from tallywright.observability import configure_logging, log
from tallywright.training.user_code.door import Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tallywright.data.snapshot import Snapshot
    from tallywright.spec import Project
    from tallywright.training.adoption.adopted import Adopted
    from tallywright.training.tracking import LifecycleRun

READY, DOING, RESULT = "ready", "doing", "result"
ERROR, MISSING, UNEXPECTED = "error", "missing", "unexpected"


@dataclass(frozen=True, slots=True)
class Job:
    """What to train; the arguments of `train`, or of `refit` where a judged package is named.

    Where `tuned` is given, no parameters are searched: they are taken from it. Where `repeated` is given, a run of
    before is done again, and MLflow is told nothing.
    """

    project: Project
    snapshot: Snapshot
    run_id: str
    work: Path
    code_version: str
    judged: Path | None = None
    tuned: Mapping[str, Any] | None = None
    adopted: Adopted | None = None
    repeated: LifecycleRun | None = None


@dataclass(frozen=True, slots=True)
class NetworkTrial:
    """Whose network to try, without any data."""

    project: Project


class _Messages:
    """The way to the command: one JSON object a line."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._descriptor = os.dup(1)
        os.dup2(2, 1)

    def send(self, kind: str, **fields: Any) -> None:
        content = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        while content:
            content = content[os.write(self._descriptor, content) :]


def main(verbose: str = "", *packages: str) -> None:
    """Trains what standard input holds; the process ends at once when a result or an error was sent.

    Args:
        verbose: Not empty: the log has details.
        packages: What has to be imported before a job is taken.
    """
    limit_allocators()
    messages = _Messages()
    configure_logging(verbose=bool(verbose))
    # The terminal's Ctrl-C is for the command, which asks this process to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signal.signal(signal.SIGTERM, _stop)
        _train_and_tell(messages, packages)
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing is left to do, and what libraries do at an exit may be interrupted.
        os._exit(0)
    except Stopped:  # at any moment, also while an error is sent and after that
        os._exit(128 + signal.SIGTERM)


def _train_and_tell(messages: _Messages, packages: Sequence[str]) -> None:
    try:
        for package in packages:
            importlib.import_module(package)
        _train(messages)
    except TallyError as error:
        messages.send(
            ERROR,
            type=type(error).__name__,
            found=error.found,
            expected=error.expected,
            remedy=error.remedy,
            checks=list(error.checks),
        )
    except ModuleNotFoundError as error:
        messages.send(MISSING, name=error.name or "", text=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the command says so
        if log.isEnabledFor(logging.DEBUG):
            traceback.print_exc()
        messages.send(UNEXPECTED, text=f"{type(error).__name__}: {error}")


def _train(messages: _Messages) -> None:
    from tallywright.training.fit import refit, train

    messages.send(READY)
    job: Job | NetworkTrial = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the command that started this
    threading.Thread(target=_end_with_the_command, daemon=True, name="command-watch").start()
    if isinstance(job, NetworkTrial):
        _try(job.project, messages)
        messages.send(RESULT, value={})
        return
    from tallywright.data.delta.lake import Lake

    run = (
        partial(train, tuned=job.tuned, adopted=job.adopted)
        if job.judged is None
        else partial(refit, judged=job.judged)
    )
    trained = run(
        job.project,
        Lake.of(job.project.environment.in_production),
        job.snapshot,
        run_id=job.run_id,
        work=job.work,
        code_version=job.code_version,
        repeated=job.repeated,
        doing=lambda what, limit: messages.send(DOING, what=what, limit=limit),
    )
    messages.send(RESULT, value=trained.model_dump(mode="json"))


def _try(project: Project, messages: _Messages) -> None:
    """Makes the estimators of a project, and tries its networks on made-up rows."""
    from tallywright.training.estimators.protocol import TRIAL_SECONDS
    from tallywright.training.estimators.registry import estimators_of
    from tallywright.training.tuning.search import require_optuna

    if project.spec.training.tuning is not None:
        require_optuna()
    estimators = estimators_of(project)
    messages.send(DOING, what=f"trying {', '.join(project.spec.training.modules or estimators)}", limit=TRIAL_SECONDS)
    if project.spec.training.modules:
        from tallywright.training.networks.trial import try_alone

        try_alone(project)


def _stop(_signal: int, _frame: object) -> None:
    raise Stopped


def _end_with_the_command() -> None:
    """Ends this process's group when the other end of standard input is closed, however the command ended."""
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
