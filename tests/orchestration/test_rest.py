"""The REST client where an answer is lost: what may be done twice is asked again, and done once."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tallywright.orchestration.embedded.rest import AirflowRest, RestError

if TYPE_CHECKING:
    from collections.abc import Iterator


class SlowServer(ThreadingHTTPServer):
    """A server that does what it is asked and loses its first `lost` answers; a run's id can be used once."""

    def __init__(self, lost: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lost = lost
        self.asked: list[tuple[str, str]] = []
        self.runs: list[str] = []
        self.closing = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: SlowServer

    def _answer(self) -> None:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/auth/token":
            return self._write(201, {"access_token": "t"})
        self.server.asked.append((self.command, self.path))
        run, status = body.get("dag_run_id"), 200
        if run in self.server.runs:
            status = 409
        elif run:
            self.server.runs.append(run)
        if self.server.lost:
            self.server.lost -= 1
            self.server.closing.wait()
            return None
        return self._write(status, body)

    do_GET = do_POST = do_PATCH = _answer  # noqa: N815

    def _write(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def served(lost: int) -> Iterator[tuple[SlowServer, AirflowRest]]:
    """A server and a client that waits a fifth of a second for each answer."""
    server = SlowServer(lost)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, AirflowRest(f"http://127.0.0.1:{server.server_port}", "u", "p", timeout_seconds=0.2)
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_run_whose_answer_was_lost_is_started_once(lost: int) -> None:
    with served(lost) as (server, rest):
        run = rest.trigger("m__score", {"date": "2025-04-01"})
    assert server.runs == [run]
    assert server.asked == [("POST", "/api/v2/dags/m__score/dagRuns")] * (lost + 1)


def test_what_reads_or_can_be_repeated_is_asked_again() -> None:
    with served(lost=1) as (server, rest):
        rest.unpause("m__score")
        server.lost = 1
        rest.call("GET", "/pools")
    assert [method for method, _ in server.asked] == ["PATCH", "PATCH", "GET", "GET"]


def test_what_may_have_been_done_is_not_done_again() -> None:
    with served(lost=1) as (server, rest), pytest.raises(RestError, match=r"no answer within 0\.2 s") as error:
        rest.call("POST", "/assets/events", {"asset_id": 1})
    assert error.value.status == 504
    assert len(server.asked) == 1
