"""A proxy before an object store that can lose answers: the request arrives, at once or late, and nobody hears of it.

It is a process of its own, because delta-rs holds the interpreter while it waits for some answers.

    losing_proxy.py STORE

says its port, and then answers each line of JSON on stdin with one.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class LosingProxy:
    """A test's side of the proxy. Signatures hold, because they name the host that the client knows: the proxy."""

    process: subprocess.Popen[str]
    endpoint: str

    def lose(self, wanted: str, *, times: int, arrives: bool = True, after: float = 0) -> None:
        """From now on loses the answers to requests that match, `METHOD /path`, so many times.

        Args:
            wanted: A regular expression.
            times: How many.
            arrives: False loses the request itself.
            after: Seconds for which the request is held before the store gets it.
        """
        self._say({"wanted": wanted, "left": times, "arrives": arrives, "after": after})

    def lost(self) -> list[int]:
        """The status that the store had given to each request whose answer was lost; 0 if it never got it."""
        return self._say({})

    def _say(self, command: dict[str, object]) -> list[int]:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def losing_proxy(endpoint: str) -> Iterator[LosingProxy]:
    """A proxy that ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-I", __file__, endpoint.partition("://")[2]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LosingProxy(process, f"http://127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, store: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store
        self.lost: list[int] = []
        self._lock = threading.Lock()
        self._orders = {"wanted": "", "left": 0, "arrives": True, "after": 0.0}

    def obey(self) -> None:
        """Takes orders until nobody is there to give them."""
        for line in sys.stdin:
            with self._lock:
                self._orders |= json.loads(line)
            sys.stdout.write(json.dumps(self.lost) + "\n")
            sys.stdout.flush()

    def fate_of(self, request: str) -> tuple[bool, bool, float]:
        """Whether the request may reach the store, whether its answer may come back, and the seconds it is held."""
        with self._lock:
            if not self._orders["left"] or not re.search(self._orders["wanted"], request):
                return True, True, 0.0
            self._orders["left"] -= 1
            return self._orders["arrives"], False, self._orders["after"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass_on(self) -> None:
        request = f"{self.command} {self.path}"
        body = self._body()
        arrives, returns, held = self.server.fate_of(request)
        time.sleep(held)
        status, headers, content = self._ask(body) if arrives else (0, [], b"")
        if not returns:
            self.server.lost.append(status)
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ONE_HOP or (name.lower() == "content-length" and self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - http.server's names

    def _body(self) -> bytes:
        """As it came: a body in chunks keeps them, and its trailer."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines, size = [], -1
        while size:
            lines.append(self.rfile.readline())
            size = int(lines[-1].split(b";")[0], 16)
            lines.append(self.rfile.read(size + 2) if size else b"")
        while lines[-1] != b"\r\n":
            lines.append(self.rfile.readline())
        return b"".join(lines)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        store = http.client.HTTPConnection(self.server.store, timeout=20)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                store.putheader(name, value)
            store.endheaders(body or None)
            answer = store.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            store.close()

    def log_message(self, *_: object) -> None:
        """Quiet: tests look at `lost`."""


def main(store: str) -> None:
    with _Server(store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.obey()
        server.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
