"""A whole project, made by `tally init` and brought to life once, then copied for each test that changes it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from forked_tally import run_tally
from old_lake import readdress
from shared import files_of


@dataclass(frozen=True)
class Done:
    """How a `tally` command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class World:
    """A project folder and the `tally` command run in it."""

    root: Path
    model: str = "late_orders"
    # A command that the `tally` command is run by, such as one that mounts something first.
    under: tuple[str, ...] = ()
    # Whether each command starts an interpreter that has imported nothing yet.
    fresh: bool = False
    # What the command's environment has besides this one's.
    environment: tuple[tuple[str, str], ...] = ()
    # The first champion sees few columns, so that a later one can prove to be better.
    few_columns: tuple[str, ...] = (
        "--set", "training.numeric=[weight_kg]", "--set", "training.categorical=[day_of_week,region]",
    )  # fmt: skip

    def tally(self, *arguments: str, code: int | None = 0, **environment: str) -> Done:
        environment = dict(os.environ) | dict(self.environment) | environment
        if self.under or self.fresh:
            command = [*self.under, sys.executable, "-m", "tallywright", *arguments]
            done = subprocess.run(
                command, cwd=self.root, capture_output=True, text=True, check=False, timeout=560, env=environment
            )
        else:
            done = run_tally(arguments, self.root, environment)
        result = Done(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in result.err, result.err
        if code is not None:
            assert result.code == code, f"exit {result.code}\n{result.out}\n{result.err}"
        return result

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.tally("query", sql, "--json", "--limit", "1000000").json

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def alive(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> World:
    """The sample project: trained as of 25 March, promoted from 1 April on, one week scored; once for all workers.

    A candidate of the first days of April can be compared with it: days after its fit are there.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    world = World(shared / "alive" / "sample")
    with (shared / "alive.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "alive.ready").exists():
            _bring_to_life(replace(world, fresh=True))
            (shared / "alive.ready").touch()
    return world


def _bring_to_life(world: World) -> None:
    world.root.parent.mkdir()
    replace(world, root=world.root.parent).tally("init", str(world.root), "--model", world.model)
    spec = world.root / "models" / world.model / "model.yaml"
    # One system user trains, and approves in the tests of approvals.
    spec.write_text(spec.read_text() + "registry: {author_may_approve: true}\n")
    world.tally("ingest", world.model, "--from", "2025-01-01", "--to", "2025-04-10")
    trained = ("--date", "2025-03-25", "--effective-from", "2025-04-01", "--by", "a test")
    world.tally("train", world.model, *trained, *world.few_columns)
    world.tally("backfill", world.model, "--from", "2025-04-01", "--to", "2025-04-07")


def _kept(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file that the copies are made of."""
    return files_of(*(root / ".tally" / part for part in ("lake", "mlartifacts", "cache")))


@pytest.fixture
def copy(alive: World, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes copies of the living project that a test may harm; the project itself must stay as it is."""
    before = _kept(alive.root)

    def make(name: str = "copy") -> World:
        root = tmp_path / name
        shutil.copytree(alive.root, root, symlinks=True)
        readdress(root / ".tally/mlflow.db", str(alive.root), str(root))
        return World(root)

    yield make
    assert _kept(alive.root) == before, "a test wrote into the project that every test copies"
