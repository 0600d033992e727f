from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tallywright.errors import SpecError
from tallywright.orchestration.alerts import failure_alert, message_of, notify
from tallywright.spec import Project, load_project


@pytest.fixture
def project(repository: Path) -> Project:
    return load_project("flight_delays", root=repository, overrides=["environment.alerts.webhook_env=HOOK"])


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


def test_a_failure_is_posted_with_owner_reason_and_log(project: Project, hook: list[dict[str, Any]]) -> None:
    failure_alert(project)(failed())
    (message,) = hook
    assert message["event"] == "task_failed"
    assert message["reason"] == "the disk is full"
    assert message["log"] == "http://ui/log"
    assert "flight-operations@example.com" in message["owner"]
    assert message["text"].startswith("flight_delays: score failed")


def test_a_model_may_have_a_webhook_of_its_own_or_none(repository: Path, hook: list[dict[str, Any]]) -> None:
    for overrides, posted in (
        (["environment.alerts.webhook_env_of.flight_delays=HOOK"], 1),
        (["environment.alerts.webhook_env=HOOK", "environment.alerts.webhook_env_of.flight_delays=''"], 1),
        (["environment.alerts.webhook_env=HOOK", "environment.alerts.webhook_env_of.another=''"], 2),
    ):
        failure_alert(load_project("flight_delays", root=repository, overrides=overrides))(failed())
        assert len(hook) == posted


def test_a_spec_names_no_variable_of_the_environment(repository: Path) -> None:
    with pytest.raises(SpecError, match=r"alerts: \{webhook_env: HOOK\}") as caught:
        load_project("flight_delays", root=repository, overrides=["alerts.webhook_env=HOOK"])
    assert "conf/local.yaml" in str(caught.value)


def test_a_missed_deadline_has_a_name_of_its_own(project: Project) -> None:
    assert message_of(project.spec, failed("watch"))["event"] == "missed_deadline"


def test_the_log_line_comes_without_a_webhook(heard: pytest.LogCaptureFixture) -> None:
    notify({"model": "m", "task": "t", "reason": "r"}, "")
    assert any(text.startswith("ALERT ") for text in heard.messages)


@pytest.mark.parametrize("address", ["", "file:///etc/passwd", "http://127.0.0.1:1/closed"])
def test_an_alert_that_cannot_be_sent_never_raises_and_never_shows_the_address(
    address: str, project: Project, monkeypatch: pytest.MonkeyPatch, heard: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOOK", address)
    failure_alert(project)(failed())
    assert any("not posted" in text and "HOOK" in text for text in heard.messages)
    assert not address or not any(address in text for text in heard.messages)
