"""The backend Prism, Beam's portable runner for one machine: a Go process with a pool of Python worker processes.

It is started under a guard and serves every day of a command. Prism gives each environment of a pipeline one worker,
so a day is scored in as many environments as there are processes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright import guard
from tallywright.errors import EngineError, UsageError
from tallywright.scoring.engines.beam.pool import WorkerPool
from tallywright.scoring.engines.beam.runners import NamedBackend, day_pipeline, failures_named
from tallywright.scoring.worker.kernel import threads_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallywright.scoring.engines.beam.outcomes import OutcomeFolder
    from tallywright.scoring.engines.beam.runners import Backend
    from tallywright.scoring.job import ScoreJob
    from tallywright.scoring.worker.fragments import InputSplit
    from tallywright.spec.yaml_files import BeamSettings

LOCATION: Final = "--prism_location"
VARIABLE: Final = "TALLYWRIGHT_PRISM"
_WORKERS: Final = "--sdk_worker_parallelism"
_PLACEMENT_OPTIONS: Final = ("--job_endpoint", "--environment_type", "--environment_config")
_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.2


def prism_backend(settings: BeamSettings) -> Backend:
    """Starts Prism and its workers; where the options name a server or an environment, only those are used."""
    options = _by_name(settings.options)
    if any(name in options for name in _PLACEMENT_OPTIONS):
        located = () if LOCATION in options or "--job_endpoint" in options else (f"{LOCATION}={prism_binary()}",)
        return NamedBackend(settings.model_copy(update={"options": (*located, *settings.options)}))
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
        self.server = PrismServer(prism_binary(settings.options))
        try:
            self.pool = WorkerPool(size)
            try:
                self.server.wait_until_ready()
            except BaseException:
                self.pool.close()
                raise
        except BaseException:
            self.server.close()
            raise

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
        """Ends Prism and the workers."""
        self.server.close()
        self.pool.close()

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
    """

    def __init__(self, binary: Path) -> None:
        port = _free_port()
        self.address = f"localhost:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        arguments = [f"--job_port={port}", "--serve_http=false", "--log_level=warn", "--log_kind=text"]
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
            EngineError: It ended, or did not answer in time.
        """
        host, port = self.address.split(":")
        give_up = time.monotonic() + _START_SECONDS
        while True:
            self.check()
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError as error:
                if time.monotonic() > give_up:
                    raise EngineError(
                        f"Prism does not answer at {self.address}: {self._tail()}", remedy="run it again"
                    ) from error
                time.sleep(_LOOK_SECONDS / 4)
            else:
                return

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
        self._log.seek(0)
        return self._log.read()[-400:].decode(errors="replace").strip() or "it says nothing"


def _by_name(options: Sequence[str]) -> dict[str, str]:
    pairs = (option.partition("=") for option in options)
    return {name: value for name, _, value in pairs}


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{_WORKERS}={text}", expected="a number of processes; 0 is one a core")
    return int(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])
