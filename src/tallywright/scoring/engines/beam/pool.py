"""A pool of SDK worker processes that outlives a pipeline: Beam and the models are loaded once, not once a day.

A runner asks it for workers by Beam's own protocol (`--environment_type=EXTERNAL`).
"""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from tallywright.errors import EngineError
from tallywright.scoring.engines.beam import harness

if TYPE_CHECKING:
    from pathlib import Path

_GRACE_SECONDS: Final = 5.0


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]  # generated code
    """A fixed number of processes; the workers that a runner asks for are spread over them in turn.

    Each process holds the other end of a pipe from this one, and ends when it closes: also when this process is
    killed. A request names an address from which the worker takes its code, so nobody else may make one: the pool
    listens on a Unix socket, and no worker is started for any other address than one beside it.

    Args:
        size: How many processes.
        path: The socket's, in a folder that this user alone may enter.
    """

    def __init__(self, size: int, path: Path) -> None:
        self._folder = path.parent
        self._lock = Lock()
        self._given: dict[str, subprocess.Popen[str]] = {}
        self._asked = 0
        self.processes = [_start(number) for number in range(size)]
        self._server = grpc.server(shared_unbounded_instance())
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
        self.address = f"unix:{path}"
        self._server.add_insecure_port(self.address)
        self._server.start()

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Beam's protocol: starts a worker with this id, in the next process in turn."""
        del context
        stranger = next((url for url in _addresses(request) if not self._is_beside(url)), None)
        if stranger is not None:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"no worker is started for {stranger}")
        with self._lock:
            process = self.processes[self._asked % len(self.processes)]
            self._asked += 1
            self._given[request.worker_id] = process
            error = "" if _send_request(process, "start", request) else f"worker process {process.pid} has ended"
        return beam_fn_api_pb2.StartWorkerResponse(error=error)

    def _is_beside(self, address: str) -> bool:
        """True for a socket in the pool's own folder."""
        name = address.removeprefix(f"unix:{self._folder}/")
        return name != address and name not in {"", ".", ".."} and "/" not in name

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Beam's protocol: stops the worker; its process goes on."""
        del context
        with self._lock:
            process = self._given.pop(request.worker_id, None)
            if process is not None:
                _send_request(process, "stop", request)
        return beam_fn_api_pb2.StopWorkerResponse()

    def check(self) -> None:
        """Raises when a process has ended, as its splits would never finish.

        Raises:
            EngineError: With the process id and its exit code.
        """
        for process in self.processes:
            if process.poll() is not None:
                raise EngineError(
                    f"the Beam worker process {process.pid} has ended with code {process.returncode}",
                    expected=f"{len(self.processes)} workers that live until the day is scored",
                    remedy="the table is unchanged, run it again; killed by the system, it was short of memory",
                )

    def close(self) -> None:
        """Ends the processes."""
        self._server.stop(grace=None).wait()
        for process in self.processes:
            _close_input(process)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            process.kill()
            process.wait()


def _addresses(request: Any) -> list[str]:
    """The addresses that a worker would connect to."""
    named = (request.control_endpoint, request.logging_endpoint, request.artifact_endpoint, request.provision_endpoint)
    return [request.control_endpoint.url, *(endpoint.url for endpoint in named if endpoint.url)]


def _start(number: int) -> subprocess.Popen[str]:
    # A session of its own: Ctrl-C is for the driver, which then closes the pipe.
    command = [sys.executable, "-m", harness.__name__, str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)


def _send_request(process: subprocess.Popen[str], verb: str, request: Any) -> bool:
    """False when the process has ended."""
    assert process.stdin is not None  # noqa: S101 - PIPE was asked for
    try:
        process.stdin.write(f"{verb} {base64.b64encode(request.SerializeToString()).decode()}\n")
        process.stdin.flush()
    except (OSError, ValueError):
        return False
    return True


def _close_input(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        assert process.stdin is not None  # noqa: S101 - PIPE was asked for
        process.stdin.close()
