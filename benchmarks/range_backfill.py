"""A range of days of the flights, backfilled by each engine with one start: equal tables, times side by side.

Beside them ten of the days with a Spark start a day, extrapolated: what a range saves. The champion of 27 June scores
the whole year here, which the leak guard would refuse; so the runs take the overlay `conf/whole_year.yaml`, which lets
it, and their manifests say so.

    python benchmarks/range_backfill.py [--from 2013-01-01] [--to 2013-12-31] [--engines local,spark,beam] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

MODEL: Final = "flight_delays"
TRAINED: Final = "2013-06-27"
A_DAY_EACH: Final = 10
ROOT: Final = Path(__file__).resolve().parent.parent
LEAKY: Final = ("--env", "whole_year")


def tally(home: Path, *arguments: str) -> str:
    """What a command prints; its log goes to this terminal when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tallywright", *arguments],
        cwd=ROOT,
        env=os.environ | {"TALLYWRIGHT_HOME": str(home), "TALLYWRIGHT_ENV": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"tally {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def prepare(home: Path, first: date, last: date) -> None:
    """Ingests the range and the training window, and makes a champion for all of it."""
    window = date.fromisoformat(TRAINED) - timedelta(days=134)
    say(f"ingest {min(first, window)} to {max(last, date.fromisoformat(TRAINED))}")
    tally(home, "ingest", MODEL, "--from", str(min(first, window)), "--to", str(max(last, date.fromisoformat(TRAINED))))
    say("train")
    tally(home, "train", MODEL, "--date", TRAINED, "--by", "a benchmark")


def range_run(home: Path, engine: str, first: date, last: date) -> dict[str, Any]:
    """One `tally backfill` over the range, as a whole process."""
    began = time.perf_counter()
    command = ("backfill", MODEL, "--from", str(first), "--to", str(last), "--json")
    days = json.loads(tally(home, *command, *LEAKY, "--set", f"scoring.engine={engine}"))
    seconds = time.perf_counter() - began
    refused = [day for day in days if day["exit_code"]]
    return {"way": f"{engine}, one range", "days": len(days) - len(refused), "seconds": round(seconds, 1),
            "seconds_a_day": round(seconds / len(days), 2), "content": content(home)}  # fmt: skip


def day_runs(home: Path, engine: str, days: list[date]) -> dict[str, Any]:
    """Each day as a command of its own, with an engine start of its own."""
    began = time.perf_counter()
    for day in days:
        tally(home, "score", MODEL, "--date", str(day), "--force", *LEAKY, "--set", f"scoring.engine={engine}")
    seconds = time.perf_counter() - began
    return {"way": f"{engine}, a start a day", "days": len(days), "seconds": round(seconds, 1),
            "seconds_a_day": round(seconds / len(days), 2), "content": ""}  # fmt: skip


def content(home: Path) -> str:
    """The order-free digest of all scored rows, over every column."""
    from tallywright.data.delta.lake import Lake
    from tallywright.data.fingerprint import digest

    rows = Lake(str(home / "lake")).read(f"{MODEL}__scores")
    return f"{rows.num_rows} rows {digest(rows, sorted(rows.column_names)).hex[:16]}"


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def show(results: list[dict[str, Any]], whole: int) -> None:
    """The table, with every way's time for the whole range."""
    print(f"{'way':<24}{'days':>6}{'seconds':>10}{'s a day':>9}{f's for {whole}':>11}  content")
    for run in results:
        print(f"{run['way']:<24}{run['days']:>6}{run['seconds']:>10.1f}{run['seconds_a_day']:>9.2f}"
              f"{run['seconds_a_day'] * whole:>11.0f}  {run['content']}")  # fmt: skip
    contents = {run["content"] for run in results if run["content"]}
    print("the tables are equal" if len(contents) == 1 else f"THE TABLES DIFFER: {contents}")


def main() -> None:
    """Reads the arguments, prepares one home, and gives each engine a copy of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2013, 1, 1))
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default=date(2013, 12, 31))
    parser.add_argument("--engines", default="local,spark,beam")
    parser.add_argument("--home", type=Path, help="where to work; kept, and used again by the next run")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    work = given.home or Path(tempfile.mkdtemp(prefix="tallywright-range-"))
    base = work / "base"
    if not (base / "ready").exists():
        prepare(base, given.first, given.last)
        (base / "ready").touch()
    results = []
    for engine in given.engines.split(","):
        home = work / engine
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(base, home, symlinks=True)
        say(f"{engine}: {given.first} to {given.last}")
        results.append(range_run(home, engine, given.first, given.last))
        if engine == "spark":
            days = [given.first + timedelta(days=number) for number in range(A_DAY_EACH)]
            results.append(day_runs(home, engine, days))
    if given.json:
        print(json.dumps(results, indent=2))
    else:
        show(results, (given.last - given.first).days + 1)
    if given.home is None:
        shutil.rmtree(work)
    if len({run["content"] for run in results if run["content"]}) > 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
