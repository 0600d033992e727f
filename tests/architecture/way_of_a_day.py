"""The way of one scored day: which modules a warm, local `tally score` goes through, and what it costs.

    python tests/architecture/way_of_a_day.py [--json] [--list]

A sample project is made, trained and promoted in a temporary folder, and two days are scored so that caches and imports
are warm. Then `sys.setprofile`, in threads too, watches one more `tally score` of an ingested day, from `main` on.

- A *module* of ours counts when one of its functions is entered, whoever calls it.
- An *edge* goes from the module of the calling frame to that of the called one. A frame of a foreign library between
  two of ours breaks it: what click, pydantic, contextlib or an executor calls back is no call of ours.
- A *climb* is a call by a function that has a `ScoreRequest` among its arguments (`self` is one) into a module of a
  higher layer or an earlier package of `scoring`, by the contracts in `pyproject.toml`. Two numbers: distinct pairs of
  function and module (climbs), and all such calls (climbing calls).
- Handles, existence checks and packages hashed are counted apart inside `ingest` and `day_gate`; the rest is the way
  from resolve to decide.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
from deltalake import DeltaTable

from tallywright.cli.main import main as tally
from tallywright.packaging.manifest import verified_files
from tallywright.scoring.prepare import ScoreRequest

PACKAGE: Final = "tallywright"
MODEL: Final = "late_orders"
DAYS: Final = (("--from", "2025-04-01", "--to", "2025-04-02"), ("--date", "2025-04-03"))
"""The warm ones, then the one watched: on it labels of a warm day mature, so `performance` has something to do."""
BEFORE: Final = frozenset({"ingest", "ingest_and_relabel", "day_gate"})
WATCHED: Final = {
    DeltaTable.__init__.__code__: "handles",
    DeltaTable.is_deltatable.__code__: "existence_checks",
    verified_files.__code__: "packages_hashed",
}


class Order:
    """Which module stands above which: by layer, and within `scoring` by package."""

    def __init__(self, pyproject: Path) -> None:
        contracts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
        named = {name: one["layers"] for one in contracts for name in one.get("containers", ())}
        self._layers = _places(named[PACKAGE])
        self._packages = _places(named[f"{PACKAGE}.scoring"])

    def above(self, callee: str, caller: str) -> bool:
        """Whether a call of the first by the second climbs."""
        return self._place(callee) < self._place(caller)

    def _place(self, module: str) -> tuple[int, int]:
        _, layer, package, *_ = [*module.split("."), "", ""]
        try:
            return (self._layers[layer], self._packages[package] if layer == "scoring" and package else 0)
        except KeyError as error:
            raise LookupError(f"{module}: no contract in pyproject.toml places {error}") from error


def _places(lines: list[str] | tuple[str, ...]) -> dict[str, int]:
    """The place of each name, 0 at the top; siblings (`a | b`, `a : b`) share one, `(a)` is optional."""
    return {name.strip(" ()"): place for place, line in enumerate(lines) for name in line.replace(":", "|").split("|")}


@dataclass
class Way:
    """What was seen so far; called by the interpreter for every function, in any thread."""

    modules: set[str] = field(default_factory=set)
    edges: set[tuple[str, str]] = field(default_factory=set)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # who holds the request: module, function; callee
    costs: list[tuple[str, bool]] = field(default_factory=list)
    _before: FrameType | None = None  # the outermost `ingest` or `day_gate` that runs now

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Takes a call, and the end of what is counted apart."""
        if event == "return" and frame is self._before:
            self._before = None
        if event == "call":
            if frame.f_code in WATCHED:
                self.costs.append((WATCHED[frame.f_code], self._before is not None))
            if module := _ours(frame):
                self._enter(frame, module)

    def _enter(self, frame: FrameType, module: str) -> None:
        self.modules.add(module)
        if self._before is None and frame.f_code.co_qualname in BEFORE:
            self._before = frame
        caller = frame.f_back
        if caller is not None and _ours(caller) not in {"", module}:
            self.edges.add((_ours(caller), module))
            if _holds_request(caller):
                self.asked.append((_ours(caller), caller.f_code.co_qualname, module))

    def names(self, order: Order) -> dict[str, list[Any]]:
        """The modules, the edges, and the climbs with how often each was made."""
        climbs = Counter(call for call in self.asked if order.above(call[2], call[0]))
        told = [(f"{one}.{function}", to, f"{times} times") for (one, function, to), times in sorted(climbs.items())]
        return {"modules": sorted(self.modules), "edges": sorted(self.edges), "climbs": told}

    def numbers(self, order: Order) -> dict[str, int]:
        """All counts by name; those of ingest and the gate end in `_before`."""
        counts = {what: len(names) for what, names in self.names(order).items()}
        counts["climbing_calls"] = sum(order.above(module, calling) for calling, _, module in self.asked)
        costs = ((name, before) for name in WATCHED.values() for before in (False, True))
        return counts | {f"{name}{'_before' * before}": self.costs.count((name, before)) for name, before in costs}


def _ours(frame: FrameType) -> str:
    """The frame's module; empty when it is not ours."""
    name = str(frame.f_globals.get("__name__"))
    return name if name.partition(".")[0] == PACKAGE else ""


def _holds_request(frame: FrameType) -> bool:
    number = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount  # the arguments are the first variables
    return any(isinstance(frame.f_locals.get(name), ScoreRequest) for name in frame.f_code.co_varnames[:number])


def prepare(project: Path) -> None:
    """Makes the sample project and its champion, each step in a process of its own."""
    made = (MODEL, "--root", str(project))
    ingest = ("ingest", *made, "--from", "2025-01-01", "--to", "2025-04-05")
    train = ("train", *made, "--date", "2025-04-01", "--by", "the sample's owner")
    for step in (("init", str(project), "--model", MODEL), ingest, train):
        done = subprocess.run([sys.executable, "-m", PACKAGE, *step], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"tally {' '.join(step)}: exit code {done.returncode}\n{done.stderr[-3000:]}")


def measure(project: Path) -> Way:
    """Scores the warm days, then watches one more."""
    way, given = Way(), sys.argv
    try:
        for days, watch in zip(DAYS, (None, way), strict=True):
            sys.argv = ["tally", "score", MODEL, "--root", str(project), *days]
            threading.setprofile(watch)
            sys.setprofile(watch)
            tally()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        sys.argv = given
    return way


def _show(numbers: dict[str, int], names: dict[str, list[Any]]) -> None:
    for name in ("modules", "edges", "climbs", "climbing_calls"):
        click.echo(f"{name:18}{numbers[name]:18}")
    click.echo(f"\n{'':18} resolve to decide   ingest and gate")
    for name in WATCHED.values():
        click.echo(f"{name:18}{numbers[name]:18}{numbers[f'{name}_before']:18}")
    for what, found in names.items():
        lines = (one if isinstance(one, str) else " -> ".join(one) for one in found)
        click.echo("\n  ".join([f"\n{what}", *lines]))


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description="Counts the way of one scored day.")
    parser.add_argument("--json", action="store_true", help="JSON for programs instead of a table")
    parser.add_argument("--list", action="store_true", help="name the modules, the edges and the climbs too")
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("TALLYWRIGHT_", "MLFLOW_"))]:
        del os.environ[name]  # nobody's own lake is meant
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder) / "sample")
        way = measure(Path(folder) / "sample")
    order = Order(Path(__file__).resolve().parents[2] / "pyproject.toml")
    numbers, names = way.numbers(order), way.names(order) if asked.list else {}
    if asked.json:
        click.echo(json.dumps({**numbers, "names": names} if names else numbers))
    else:
        _show(numbers, names)


if __name__ == "__main__":
    main()
