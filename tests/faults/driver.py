"""A real process that scores (or reads) the synthetic world, for tests that kill it.

`driver.py score <root> …` starts what its engine needs, says `ready`, waits for a line on stdin, scores, prints the
outcome as JSON and exits like `tally` would. `driver.py read <root> <stop> <out>` waits for a line too, then reads the
scores of the day over and over until the file `stop` is there, and writes the contents that it saw, in order, to `out`.

The lake is `<root>/lake`, or the address in `$LAKE`, whose options are then AWS_* in the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from datetime import date
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from deltalake import DeltaTable
from synthetic import DAY, ROLES, content_of, make_cast, make_package, make_request, make_spec

from tallywright.data.delta.lake import Lake
from tallywright.errors import TallyError
from tallywright.observability import failpoint
from tallywright.records import InputVersion
from tallywright.scoring import prepare
from tallywright.scoring.commit import sink
from tallywright.scoring.day import score_day
from tallywright.scoring.engines.base import OWN_IO, Engines
from tallywright.scoring.worker.fragments import SPLIT_ROWS, plan_splits
from tallywright.spec.environment import BeamSettings, EngineSettings, SparkSettings

SMALL_SPARK = {
    "spark.driver.memory": "1g",
    "spark.executor.memory": "512m",
    "spark.log.level": "ERROR",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.files.maxPartitionBytes": "40000",  # several tasks although the day is small
    "spark.sql.files.openCostInBytes": "0",
}


def lake_of(root: Path) -> Lake:
    return Lake(os.environ.get("LAKE") or str(root / "lake"))


def limit(size: int) -> None:
    """From now on no file may grow beyond this: what a full disk looks like from inside."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def settings_of(options: argparse.Namespace) -> EngineSettings:
    """The environment of the engine; workers on other machines hear of the point at which to die as well."""
    asked = {name: value for name, value in os.environ.items() if name.startswith("TALLYWRIGHT_KILL_")}
    conf = SMALL_SPARK | {f"spark.executorEnv.{name}": value for name, value in asked.items()}
    beam = BeamSettings(runner=options.runner)
    return EngineSettings(spark=SparkSettings(master=options.master, conf=conf), beam=beam)


def score(root: Path, options: argparse.Namespace) -> None:
    roles = ROLES if options.roles else {}
    spec = make_spec(scoring={"workers": options.workers, "batch_rows": 256, "io": options.io} | roles)
    cast = make_cast(root / "cast", spec) if options.roles else {}
    package = make_package(root / "package")
    prepare.plan_splits = partial(plan_splits, target_rows=options.part_rows)
    with Engines(settings_of(options)) as engines:
        if options.engine == "spark":
            engines.get("spark").session(delta=options.io == OWN_IO)
        say("ready")
        sys.stdin.readline()
        pinned = InputVersion.from_json((root / f"input-{options.day}.json").read_text())
        lake, run = lake_of(root), f"pid-{os.getpid()}"
        request = make_request(lake, spec, pinned, package, run_id=run, engine=options.engine, engines=engines, **cast)
        if options.limit_at:
            sink.failpoint = lambda name: limit(options.file_limit) if name == options.limit_at else failpoint(name)
        elif options.file_limit:
            limit(options.file_limit)
        outcome = score_day(request)
        say(outcome.to_json())


def read(root: Path, stop: Path, out: Path) -> None:
    address = lake_of(root).uri("shop__scores")
    seen: list[str] = []
    reads = 0
    say("ready")
    sys.stdin.readline()
    while not stop.exists():
        if DeltaTable.is_deltatable(address):
            content = content_of(DeltaTable(address), DAY)
            if content not in seen[-1:]:
                seen.append(content)
            reads += 1
        time.sleep(0.005)
    out.write_text(json.dumps({"reads": reads, "seen": seen}))


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("root", type=Path)
    scoring.add_argument("--day", type=date.fromisoformat, default=DAY)
    scoring.add_argument("--workers", type=int, default=2)
    scoring.add_argument("--part-rows", type=int, default=SPLIT_ROWS)
    scoring.add_argument("--engine", default="local")
    scoring.add_argument("--io", default="auto")
    scoring.add_argument("--master", default="local[2]")
    scoring.add_argument("--runner", default="FnApiRunner")
    scoring.add_argument("--file-limit", type=int, default=0)
    scoring.add_argument("--limit-at", default="")
    scoring.add_argument("--roles", action="store_true")
    reading = commands.add_parser("read")
    for name in ("root", "stop", "out"):
        reading.add_argument(name, type=Path)
    options = parser.parse_args()
    if options.command == "read":
        read(options.root, options.stop, options.out)
        return
    try:
        score(options.root, options)
    except TallyError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
