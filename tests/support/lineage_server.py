"""A server of the loopback that takes OpenLineage events, and the settings that send them there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import yaml
from ports import free_port

if TYPE_CHECKING:
    from writers import Day


@dataclass
class Server:
    """What was posted to a server that answers with a status."""

    status: int = 201
    events: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and authorization of each request."""
    url: str = ""

    def of(self, step: str) -> dict[str, dict[str, Any]]:
        """The events of a step by type."""
        return {one["eventType"]: one for one in self.events if one["job"]["name"].endswith(f".{step}")}


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs while the block does."""
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.asked.append((self.path, self.headers.get("Authorization", "")))
            told.events.append(json.loads(body))
            self.send_response(told.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    told.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield told
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def configure(day: Day, **settings: Any) -> None:
    """Gives the environment a section `lineage`."""
    (day.root / "conf/local.yaml").write_text(yaml.safe_dump({"lineage": settings}))
