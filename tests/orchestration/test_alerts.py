from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tallywright.orchestration.alerts import failure_alert, message_of, notify
from tallywright.spec import ModelSpec, load_project
from tallywright.spec.model import Alerts


@pytest.fixture
def spec(repository: Path) -> ModelSpec:
    return load_project("flight_delays", root=repository, overrides=["alerts.webhook_env=HOOK"]).spec


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A webhook on loopback; the messages it received."""
    received: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/secret-path")
        yield received
        server.shutdown()
        thread.join()


def failed(task: str = "score") -> dict[str, Any]:
    instance = SimpleNamespace(task_id=task, dag_id="flight_delays__score", run_id="r", log_url="http://ui/log")
    return {"task_instance": instance, "exception": ValueError("the disk is full")}


def test_a_failure_is_posted_with_owner_reason_and_log(spec: ModelSpec, hook: list[dict[str, Any]]) -> None:
    failure_alert(spec)(failed())
    (message,) = hook
    assert message["event"] == "task_failed"
    assert message["reason"] == "the disk is full"
    assert message["log"] == "http://ui/log"
    assert "flight-operations@example.com" in message["owner"]
    assert message["text"].startswith("flight_delays: score failed")


def test_a_missed_deadline_has_a_name_of_its_own(spec: ModelSpec) -> None:
    assert message_of(spec, failed("watch"))["event"] == "missed_deadline"


def test_the_log_line_comes_without_a_webhook(heard: pytest.LogCaptureFixture) -> None:
    notify(Alerts(), {"model": "m", "task": "t", "reason": "r"})
    assert any(text.startswith("ALERT ") for text in heard.messages)


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "http://127.0.0.1:1/closed"])
def test_an_alert_that_cannot_be_sent_never_raises_and_never_shows_the_address(
    address: str, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOOK", address)
    failure_alert(spec)(failed())
    assert any("not posted" in text and "HOOK" in text for text in heard.messages)
    assert not address or not any(address in text for text in heard.messages)
