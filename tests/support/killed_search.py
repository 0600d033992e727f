"""A training that is killed in the middle of its search, in a process of its own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tallywright.data.snapshot import Snapshot
    from tallywright.spec import Project


def train_until(project: Project, snapshot: Snapshot, work: Path, said: str) -> None:
    """Trains, and kills this process with SIGKILL at the first thing done or tagged that begins with `said`."""
    from tallywright.data.delta.lake import Lake
    from tallywright.training import fit
    from tallywright.training.tracking import LifecycleRun

    def doing(what: str, _limit: float | None) -> None:
        if what.startswith(said):
            os.kill(os.getpid(), signal.SIGKILL)

    plain = LifecycleRun.note

    def note(run: LifecycleRun, tag: str, value: str) -> None:
        doing(f"{tag} {value}", None)
        plain(run, tag, value)

    setattr(LifecycleRun, "note", note)  # noqa: B010 - a method of a frozen class
    lake = Lake.of(project.environment)
    fit.train(project, lake, snapshot, run_id="run-1", work=work, code_version="0123abc", doing=doing)
