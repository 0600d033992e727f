"""The backend Prism, Beam's portable runner for one machine: a Go process with a pool of Python worker processes.

It is started under a guard and serves every day of a command. Prism gives each environment of a pipeline one worker,
so a day is scored in as many environments as there are processes.

Whoever reaches Prism or its workers has them run code, and neither asks who somebody is. So no port is opened: they
meet at Unix sockets in a folder that this user alone may enter. Prism as released has no option for that; one that was
not built by `make prism` is refused before it listens anywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright import guard
from tallywright.errors import EngineError, UsageError
from tallywright.scoring.engines.beam.pool import WorkerPool
from tallywright.scoring.engines.beam.runners import NamedBackend, day_pipeline, failures_named
from tallywright.scoring.worker.kernel import threads_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tallywright.scoring.engines.beam.outcomes import OutcomeFolder
    from tallywright.scoring.engines.beam.runners import Backend
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.spec.environment import BeamSettings

LOCATION: Final = "--prism_location"
VARIABLE: Final = "TALLYWRIGHT_PRISM"
_WORKERS: Final = "--sdk_worker_parallelism"
JOB_ENDPOINT: Final = "--job_endpoint"
_PLACEMENT_OPTIONS: Final = (JOB_ENDPOINT, "--environment_type", "--environment_config")
_SOCKET: Final = "--job_socket"
_LONGEST_SOCKET: Final = 100
"""Bytes in the path of a Unix socket; Linux takes 107, macOS 103."""
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.2


def prism_backend(settings: BeamSettings) -> Backend:
    """Starts Prism and its workers; where the options name a server that runs already, only that is used.

    Raises:
        UsageError: An environment of workers without the server that uses it: Beam would start a Prism of its own,
            which listens on every interface.
    """
    options = _by_name(settings.options)
    if JOB_ENDPOINT in options:
        return NamedBackend(settings)
    placed = [name for name in _PLACEMENT_OPTIONS if name in options]
    if placed:
        raise UsageError(
            f"engine.beam.options has {placed[0]} without {JOB_ENDPOINT}",
            expected="the workers that the engine starts itself, which take requests of its own Prism alone",
            remedy=f"take {placed[0]} out, or name the Prism that runs already: {JOB_ENDPOINT}=HOST:PORT",
        )
    return PrismBackend(settings)


def prism_binary(options: Sequence[str] = ()) -> Path:
    """The path of the Prism binary: the option, the variable, or where `make` builds it.

    Raises:
        UsageError: It is not there.
    """
    default = Path(sys.prefix, "share", "tallywright", "prism")
    path = Path(_by_name(options).get(LOCATION) or os.environ.get(VARIABLE) or default)
    if not os.access(path, os.X_OK) or path.is_dir():
        raise UsageError(
            f"there is no Prism at {path}",
            expected=f"the program, at {LOCATION} in engine.beam.options, at ${VARIABLE} or at {default}",
            remedy="with Go installed, `make prism` builds it; see docs/beam.md",
        )
    return path


class PrismBackend:
    """A Prism server and its worker processes, for any number of pipelines.

    Args:
        settings: Their options.
    """

    def __init__(self, settings: BeamSettings) -> None:
        self._settings = settings
        options = _by_name(settings.options)
        size = threads_for(_number(options.get(_WORKERS, "0")), sys.maxsize)
        binary = prism_binary(settings.options)
        with ExitStack() as started:
            self._folder = started.enter_context(_private_folder())
            self.server = PrismServer(binary, self._folder / "prism")
            started.callback(self.server.close)
            self.pool = WorkerPool(size, self._folder / "pool")
            started.callback(self.pool.close)
            self.server.wait_until_ready()
            self._started = started.pop_all()

    def run(self, job: ScoreJob, splits: Sequence[InputSplit], outcome_folder: OutcomeFolder) -> None:
        """Runs the pipeline of a day, and gives up as soon as Prism or a worker has ended."""
        from apache_beam.runners.portability.prism_runner import PrismRunner

        options = [
            f"--job_endpoint={self.server.address}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.pool.address}",
            *self._settings.options,
        ]
        processes = len(self.pool.processes)
        with failures_named(self._settings.runner):
            pipeline = day_pipeline(PrismRunner(), options, job, splits, outcome_folder, environments=processes)
            self._wait(pipeline.run(test_runner_api=False))

    def close(self) -> None:
        """Ends the workers and Prism."""
        self._started.close()

    def _wait(self, result: Any) -> None:
        waiter = ThreadPoolExecutor(1, thread_name_prefix="prism-wait")
        try:
            ended = waiter.submit(result.wait_until_finish)
            while not wait([ended], timeout=_LOOK_SECONDS).done:
                self.server.check()
                self.pool.check()
            ended.result()
        finally:
            waiter.shutdown(wait=False)


class PrismServer:
    """A Prism process under a guard: it ends when `close` is called or this process dies.

    Args:
        binary: The program.
        path: Where its socket will be: in a folder that nobody else may enter.
    """

    def __init__(self, binary: Path, path: Path) -> None:
        self._binary, self._path = binary, path
        self.address = f"unix:{path}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        arguments = [f"{_SOCKET}={path}", "--serve_http=false", "--log_level=warn", "--log_kind=text"]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(binary), *arguments],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Waits until the server accepts connections.

        Raises:
            UsageError: It is a Prism that can only listen on every interface.
            EngineError: It ended, or did not answer in time.
        """
        give_up = time.monotonic() + _START_SECONDS
        while True:
            self._require_private()
            self.check()
            try:
                with socket.socket(socket.AF_UNIX) as asking:
                    asking.settimeout(1)
                    asking.connect(str(self._path))
            except OSError as error:
                if time.monotonic() > give_up:
                    raise EngineError(
                        f"Prism does not answer at {self.address}: {self._tail()}", remedy="run it again"
                    ) from error
                time.sleep(_LOOK_SECONDS / 4)
            else:
                return

    def _require_private(self) -> None:
        if self.process.poll() is not None and f"not defined: -{_SOCKET.lstrip('-')}" in self._all_it_said():
            raise UsageError(
                f"the Prism at {self._binary} listens on every interface of the machine, and runs what anybody sends",
                expected="one that takes its clients from a Unix socket",
                remedy="`make prism` builds it from the released sources; see docs/beam.md",
            )

    def check(self) -> None:
        """Raises when the server has ended.

        Raises:
            EngineError: With its last words.
        """
        if self.process.poll() is not None:
            raise EngineError(
                f"Prism has ended with code {self.process.returncode}: {self._tail()}",
                expected="a server that lives until the day is scored",
                remedy="the table is unchanged, run it again",
            )

    def close(self) -> None:
        """Ends the server."""
        assert self.process.stdin is not None  # noqa: S101 - PIPE was asked for
        self.process.stdin.close()
        try:
            self.process.wait(guard.GRACE_SECONDS + 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def _tail(self) -> str:
        return self._all_it_said()[-400:].strip() or "it says nothing"

    def _all_it_said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")


def _by_name(options: Sequence[str]) -> dict[str, str]:
    pairs = (option.partition("=") for option in options)
    return {name: value for name, _, value in pairs}


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{_WORKERS}={text}", expected="a number of processes; 0 is one a core")
    return int(text)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder for sockets that this user alone may enter; its path is short, as those of sockets have to be.

    Raises:
        EngineError: There is no place for it.
    """
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - a fresh folder with a random name, for us alone
        if len(os.fsencode(parent)) > _LONGEST_SOCKET - len("/tally-beam-12345678/prism"):
            continue
        folder = Path(tempfile.mkdtemp(prefix="tally-beam-", dir=parent))  # 0700, whatever the umask
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    raise EngineError(
        f"{tempfile.gettempdir()} is too long a path for a socket", remedy="point TMPDIR to a folder with a short one"
    )
