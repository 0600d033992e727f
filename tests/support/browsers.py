"""A real browser that opens a page and tells what it has made of it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

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
    """The program; a test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("not run here: a browser (install chromium)")
    return found


def opened(page: Path, profile: Path) -> Opened:
    """Opens a file, lets time pass for its scripts, and gives the document."""
    command = [
        browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", "--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, errors="replace")
    return Opened(done.stdout, done.stderr)
