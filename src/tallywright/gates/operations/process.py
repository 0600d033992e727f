"""Starts the fresh process: nothing to import but the package's recorded dependencies, nothing of our environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tallywright.gates.operations.dependencies import link_dependencies
from tallywright.gates.operations.fresh import COMMAND

if TYPE_CHECKING:
    from tallywright.gates.operations.probe import ProbeRequest
    from tallywright.packaging.package import Package

_TIMEOUT_SECONDS: Final = 600
_KEPT_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
"""What the loader of shared libraries needs, and how text is encoded."""


@dataclass(frozen=True, slots=True)
class Observations:
    """What the fresh process observed, what it logged, and why it failed (empty when it did not)."""

    observed: dict[str, Any] = field(default_factory=dict)
    log: str = ""
    failure: str = ""


def ask(package: Package, asked: ProbeRequest) -> Observations:
    """Asks a fresh process; whatever becomes of it is an answer."""
    with tempfile.TemporaryDirectory(prefix="tally-operations-") as folder:
        modules, empty = Path(folder) / "modules", Path(folder) / "empty"
        modules.mkdir()
        empty.mkdir()
        link_dependencies(package.meta.requirements, modules)
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-B", "-c", COMMAND, str(modules), json.dumps(asdict(asked))],
                cwd=empty,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Observations(failure=f"the process did not end within {_TIMEOUT_SECONDS} s")
    if done.returncode != 0:
        return Observations(log=done.stderr, failure=f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    try:
        return Observations(observed=json.loads(done.stdout.strip().splitlines()[-1]), log=done.stderr)
    except (IndexError, json.JSONDecodeError):
        return Observations(log=done.stderr, failure=f"the process gave no answer: {done.stdout.strip()[-300:]!r}")
