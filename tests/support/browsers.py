"""A real browser that opens a page, or walks through a site, and tells what it has made of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lacking import lacking

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")


@dataclass(frozen=True)
class Opened:
    """A page after its scripts, if it had any.

    Attributes:
        page: The document as the browser has it.
        said: What the browser said to its console, among what it says of itself.
    """

    page: str
    said: str


def browser() -> str:
    """The program; without one a test ends here."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        lacking("a browser", "apt-get install chromium")
    return found


def opened(page: Path, profile: Path) -> Opened:
    """Opens a file, lets time pass for its scripts, and gives the document."""
    command = [*_command(profile), "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, errors="replace")
    return Opened(done.stdout, done.stderr)


def _command(profile: Path) -> list[str]:
    return [
        browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={profile}",
    ]  # fmt: skip


@dataclass
class Tab:
    """A tab of a running browser, driven by its own protocol.

    Attributes:
        requested: The addresses that the pages have asked for since the last look.
        dialogs: What `alert` and its like have said.
    """

    connection: Any
    requested: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    _sent: int = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        self.connection.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.connection.recv(timeout=60))
            if told.get("id") == self._sent:
                return dict(told.get("result") or {})
            self._hear(told)

    def value(self, expression: str) -> Any:
        """What a script of the test's own gives."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, address: str, *texts: str, seconds: float = 90) -> str:
        """Opens a page and waits until it shows the texts, and somewhat longer for scripts; gives the document."""
        self.call("Page.navigate", url=address)
        return self.shown(*texts, seconds=seconds)

    def shown(self, *texts: str, seconds: float = 90) -> str:
        """Waits until the page shows the texts, and somewhat longer; gives the document."""
        deadline = time.monotonic() + seconds
        while not all(text in (seen := self.value("document.body ? document.body.innerText : ''")) for text in texts):
            if time.monotonic() > deadline:
                pytest.fail(f"the page does not show {texts}: {seen[:3000]}")
            self._listen(0.5)
        self._listen(2)
        return str(self.value("document.documentElement.outerHTML"))

    def click(self, label: str) -> None:
        """Clicks what is called so, once it is there."""
        called = f"one => [one.innerText.trim(), one.ariaLabel].includes({json.dumps(label)})"
        find = f"[...document.querySelectorAll('button, a')].find({called})"
        deadline = time.monotonic() + 60
        while not self.value(f"(() => {{ const one = {find}; if (one) one.click(); return Boolean(one) }})()"):
            assert time.monotonic() < deadline, f"nothing is called {label}"
            self._listen(0.5)

    def _listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._hear(json.loads(self.connection.recv(timeout=left)))
            except TimeoutError:
                return

    def _hear(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(about["request"]["url"])
        elif event.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(about["message"])


@contextmanager
def browsing(profile: Path, address: str, cookies: dict[str, str]) -> Iterator[Tab]:
    """A browser with one tab, signed in to a site by cookies."""
    from websockets.sync.client import connect

    command = [*_command(profile), "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            assert process.stderr is not None
            said = next(line for line in process.stderr if "DevTools listening on" in line)
            place = re.search(r"127\.0\.0\.1:\d+", said)
            assert place is not None, said
            with urllib.request.urlopen(f"http://{place[0]}/json") as answer:
                (page,) = (one for one in json.load(answer) if one["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None) as connection:
                tab = Tab(connection)
                for domain in ("Network", "Page", "Runtime"):
                    tab.call(f"{domain}.enable")
                for name, value in cookies.items():
                    tab.call("Network.setCookie", name=name, value=value, url=address, httpOnly=True)
                yield tab
        finally:
            process.terminate()
