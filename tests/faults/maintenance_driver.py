"""Real processes for a test of maintenance: they maintain over and over, or ingest and score a day in many rounds.

`maintenance_driver.py maintain <root> <out> [--once]` maintains every table until the file `stop` is there, and writes
what it did to `out`. `maintenance_driver.py work <root> --day D --rounds N` restates and scores a date N times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from synthetic import make_features, make_package, make_request, make_spec, put_day

from tallywright.data.delta import replacing
from tallywright.data.delta.lake import Lake
from tallywright.data.upkeep.maintenance import TableRules, maintain_table
from tallywright.errors import TallyError
from tallywright.scoring import prepare
from tallywright.scoring.day import score_day
from tallywright.scoring.references import tally_references
from tallywright.scoring.worker.fragments import plan_splits

ROWS = 400


def many_small_files() -> None:
    """A day becomes several files, so that there is something to compact."""
    replacing._ROW_GROUP = 100
    prepare.plan_splits = lambda paths, **options: plan_splits(paths, target_rows=1, **options)


def work(root: Path, day: date, rounds: int) -> None:
    """Restates and scores a date; the content of each round is a function of date and round."""
    many_small_files()
    lake, spec = Lake(str(root / "lake")), make_spec(scoring={"workers": 1})
    package = make_package(root / "package")
    for number in range(rounds):
        features = make_features(ROWS + number, seed=day.toordinal() + 1000 * number)
        pinned = put_day(lake, spec, features, day=day)
        score_day(make_request(lake, spec, pinned, package, run_id=f"pid-{os.getpid()}"))


def maintain(root: Path, out: Path, *, once: bool) -> None:
    """Maintains with the retentions that a spec has by default."""
    lake, spec, done = Lake(str(root / "lake")), make_spec(), Counter()
    while not (root / "stop").exists():
        now = datetime.now(UTC)
        keep: dict[str, dict[int, frozenset[str]]] = {}
        for one in tally_references(lake, spec, now - timedelta(days=400)):
            keep.setdefault(one.table, {})[one.version] = frozenset({one.by})
        for table in lake.tables():
            rules = TableRules(now, timedelta(days=30), timedelta(days=7), min_files=2, keep=keep.get(table, {}))
            report = maintain_table(lake, table, rules)
            done += Counter({name: getattr(report, name) for name in ("compacted", "lost_races", "deleted", "orphans")})
        done["runs"] += 1
        if once:
            break
    out.write_text(json.dumps(done))


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    working = commands.add_parser("work")
    working.add_argument("root", type=Path)
    working.add_argument("--day", type=date.fromisoformat)
    working.add_argument("--rounds", type=int)
    maintaining = commands.add_parser("maintain")
    maintaining.add_argument("root", type=Path)
    maintaining.add_argument("out", type=Path)
    maintaining.add_argument("--once", action="store_true")
    options = parser.parse_args()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    try:
        if options.command == "work":
            work(options.root, options.day, options.rounds)
        else:
            maintain(options.root, options.out, once=options.once)
    except TallyError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
