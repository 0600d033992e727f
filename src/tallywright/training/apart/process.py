"""Trains in a process of its own, watches it, and answers only with what that very process said.

A network that ends its process, stops for ever or takes all memory is named; the command goes on, and ends with the
right code. No torch is imported here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tallywright
from tallywright import errors
from tallywright.errors import EngineError, SpecError, TallyError
from tallywright.observability import log
from tallywright.training.apart import worker
from tallywright.training.user_code.door import bad_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

    from tallywright.spec import Project
    from tallywright.training.apart.worker import Job, NetworkTrial

SILENT_SECONDS: Final = 5.0
"""After so long without a word a line says what goes on."""
_SELDOM: Final = 60.0
"""From then on such a line comes only twelve times more seldom."""
_STOP_SECONDS: Final = 1.5
_LAST_WORDS: Final = 2.0
"""Seconds in which what an ended process has said is heard."""
_START: Final = (
    "import sys; sys.path.append(sys.argv.pop(1)); from tallywright.training.apart.worker import main; "
    "main(*sys.argv[1:])"
)


class TrainingProcess:
    """A process that trains one job; used as a context, at whose end nothing of the process is left.

    Args:
        network: The project's network file, which is blamed when the process ends without a word.
        limit: How long the training may take.
        packages: What it has to import before it takes a job.
    """

    def __init__(self, network: Path, limit: timedelta, packages: Sequence[str] = ()) -> None:
        self._network = network
        self._packages = packages
        self._limit = limit.total_seconds()
        self._heard: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    @classmethod
    def of(cls, project: Project, limit: timedelta) -> Self:
        """The process for a project: its own code is blamed, else its spec."""
        modules = project.spec.training.modules
        return cls(project.folder / (modules[0] if modules else "model.yaml"), limit, ("torch",) if modules else ())

    def __enter__(self) -> Self:
        """Starts the process, and waits until it has imported what it needs.

        Raises:
            ModuleNotFoundError: A package that training needs is not installed.
        """
        home = str(Path(tallywright.__file__).parent.parent)
        verbose = "verbose" if log.isEnabledFor(logging.DEBUG) else ""
        self._process = subprocess.Popen(
            # -P: a file of the working folder is no module, whatever its name.
            [sys.executable, "-P", "-c", _START, home, verbose, *self._packages],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            threading.Thread(target=self._listen, daemon=True, name="training-messages").start()
            self._until(worker.READY, f"importing {', '.join((*self._packages, 'MLflow'))}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the process and whatever it has started."""
        self._end()

    def answer(self, job: Job | NetworkTrial) -> dict[str, Any]:
        """The fields of the `TrainedModel`; none of a trial.

        Raises:
            SpecError: The network ended the process, or took too long.
            EngineError: The process was ended by a signal.
            TallyError: Whatever the training refuses.
        """
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        try:
            self._process.stdin.write(pickle.dumps(job))
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended("reading its job") from error
        value: dict[str, Any] = self._until(worker.RESULT, "beginning")["value"]
        return value

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        for line in self._process.stdout:
            if (message := _message(line)) is not None:
                self._heard.put(message)
        self._heard.put(None)

    def _until(self, kind: str, doing: str) -> Mapping[str, Any]:
        """The next message of a kind; what is done meanwhile is told when it takes long."""
        begun = time.monotonic()
        phase = _Phase(doing)
        while True:
            # What it has started may keep its output open: the end of that is not waited for.
            is_gone = self._process.poll() is not None
            try:
                message = self._heard.get(timeout=_LAST_WORDS if is_gone else 0.2)
            except queue.Empty:
                if is_gone:
                    raise self._ended(phase.doing) from None
                self._require_time(phase, begun)
                phase.tell()
                continue
            match message:
                case None:
                    raise self._ended(phase.doing)
                case {"kind": worker.DOING}:
                    phase = _Phase(message["what"], message["limit"])
                case {"kind": worker.ERROR}:
                    raise _rebuilt(message)
                case {"kind": worker.MISSING}:
                    raise ModuleNotFoundError(message["text"], name=message["name"])
                case {"kind": worker.UNEXPECTED}:
                    raise RuntimeError(f"{message['text']} (while {phase.doing})")
                case _ if message["kind"] == kind:
                    return message

    def _require_time(self, phase: _Phase, begun: float) -> None:
        if phase.most is not None and phase.taken > phase.most:
            raise self._too_long(f"{phase.doing} has taken {phase.taken:.0f} s; it may take {phase.most:.0f} s")
        if time.monotonic() - begun > self._limit:
            raise self._too_long(f"the training has taken {time.monotonic() - begun:,.0f} s")

    def _too_long(self, what: str) -> SpecError:
        return bad_network(
            f"{self._network}: {what}, and was stopped",
            remedy="look for a loop without an end in the network, or make it smaller (training.estimator); a whole "
            f"training may take {self._limit / 3600:g} hours, and goes on from its last epoch with the same --run-id",
        )

    def _ended(self, doing: str) -> TallyError:
        code = self._process.wait()
        if code >= 0:
            return bad_network(f"{self._network} ends the process (exit code {code}) while {doing}")
        name = signal.Signals(-code).name
        return EngineError(
            f"the training process was ended by {name} while {doing}",
            expected="a process that ends by itself",
            remedy="SIGKILL is most often a machine out of memory: make the network or the window smaller; else run it "
            "again with the same --run-id, it goes on from the last epoch, or trial of a search",
        )

    def _end(self) -> None:
        """Asks the process to stop, so that it can close its MLflow run; then by force, with all that it started."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class _Phase:
    """What the process does at a time; `most` is how many seconds it may take."""

    def __init__(self, doing: str, most: float | None = None) -> None:
        self.doing = doing
        self.most = most
        self._since = self._told = time.monotonic()

    @property
    def taken(self) -> float:
        """The seconds since it began."""
        return time.monotonic() - self._since

    def tell(self) -> None:
        """Says that it still goes on, every few seconds and more seldom later."""
        taken = self.taken
        if time.monotonic() - self._told < (SILENT_SECONDS if taken < _SELDOM else 12 * SILENT_SECONDS):
            return
        log.info("still %s, for %d s%s", self.doing, taken, f" (at most {self.most:.0f} s)" if self.most else "")
        self._told = time.monotonic()


def _message(line: bytes) -> dict[str, Any] | None:
    """What the process says in a line; None of one that its network has written there."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "kind" in found else None


def _rebuilt(message: Mapping[str, Any]) -> TallyError:
    cls = getattr(errors, message["type"], None) or _elsewhere(message["type"])
    made: TallyError = cls(
        message["found"], expected=message["expected"], remedy=message["remedy"], checks=tuple(message["checks"])
    )
    return made


def _elsewhere(name: str) -> type[TallyError]:
    """A class of error that is declared with the layer that raises it."""
    waiting = [TallyError]
    while waiting:
        cls = waiting.pop()
        if cls.__name__ == name:
            return cls
        waiting += cls.__subclasses__()
    return TallyError
