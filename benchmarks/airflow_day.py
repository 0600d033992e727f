"""One scored day through a real Airflow, beside DAGs of trivial tasks in the same Airflow and the same run.

A project of `tally init` with a champion; its embedded Airflow; six days triggered at once. Per day: the clock, from
the first trigger to the end of the last run, and CPU seconds (user and system) of

- `tasks`: the executor's workers, Airflow's supervisors, and the steps they start;
- `scheduler`, `api server`, `dag processor`: these processes; the last one with the files it parses.

The kernel's counts of each live process are added up, with those of its ended and waited-for children: read while
nothing runs, no process is in two of them. (Linux: other systems do not tell of ended children.) `gross` is all of it,
and what the goals are about. `net` is without the DAG processor, which looks at its files every two minutes whatever
runs, and less what scheduler and API server spend in the same time on nothing; it is what a further day costs.

    python benchmarks/airflow_day.py [--models 100] [--days 6] [--idle 20] [--json]
    python benchmarks/airflow_day.py --models 100 --pairs 15

With `--models 100` the same once more beside 99 copies of the model: their DAGs are active, and none of them is due.
With `--pairs` two Airflows run side by side, one with all models and one with the model alone, and a day of each is
triggered in turn. A pair is one ratio of CPU seconds; the medians are printed with their 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from math import comb
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import psutil

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import EmbeddedAirflow, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.orchestration.embedded.rest import AirflowRest

MODEL: Final = "late_orders"
SCORE: Final = f"{MODEL}__score"
TRAINED: Final = date(2025, 4, 1)
STEPS: Final = ("ingest", "day-gate", "score", "monitor")
OVER: Final = ("success", "failed")
# As many runs at once as a score DAG has.
TRIVIAL: Final = """
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

for count in (5, 9):
    with DAG(f"trivial_{count}", schedule=None, max_active_runs=2) as dag:
        tasks = [PythonOperator(task_id=f"task_{number}", python_callable=lambda: 1) for number in range(count)]
        for before, after in zip(tasks, tasks[1:]):
            before >> after
    globals()[dag.dag_id] = dag
"""


@dataclass(frozen=True, slots=True)
class Way:
    """What a run of a DAG costs; CPU seconds by part, all of it a run."""

    dag: str
    models: int
    cpu: dict[str, float]
    gross: float
    net: float
    seconds: float


@dataclass(slots=True)
class Bench:
    """One project and its Airflow."""

    airflow: EmbeddedAirflow
    rest: AirflowRest
    models: int
    idle: dict[str, float]
    """CPU seconds a second by part, while nothing runs and somebody asks as often as `way` does."""

    def way(self, dag: str, forms: list[dict[str, Any]]) -> Way:
        """Triggers a run for each form, all at once, and waits for the last."""
        say(f"{self.models} models: {len(forms)} runs of {dag} at once")
        before, began, at = cpu(self.airflow), time.monotonic(), time.time()
        runs = {self.rest.trigger(dag, form) for form in forms}
        ends: list[float] = []

        def ended() -> bool:
            found = [run for run in self.rest.runs(dag) if run["dag_run_id"] in runs and run["state"] in OVER]
            if failed := [run["dag_run_id"] for run in found if run["state"] == "failed"]:
                raise SystemExit(f"{dag}: {failed[0]} failed: {self.rest.task_states(dag, failed[0])}")
            ends[:] = [datetime.fromisoformat(run["end_date"]).timestamp() for run in found]
            return len(found) == len(runs)

        wait_until(f"the end of {dag}", ended, seconds=900, alive=self.airflow.missing)
        time.sleep(2.0)  # the last task's supervisor ends after its run
        after, window = cpu(self.airflow), time.monotonic() - began
        spent = {part: after[part] - before[part] for part in after}
        net = sum(value - self.idle[part] * window for part, value in spent.items() if part != "dag-processor")
        a_run = {part: round(value / len(runs), 2) for part, value in spent.items()}
        return Way(dag, self.models, a_run, round(sum(spent.values()) / len(runs), 2), round(net / len(runs), 2),
                   round((max(ends) - at) / len(runs), 2))  # fmt: skip


def cpu(airflow: EmbeddedAirflow) -> dict[str, float]:
    """CPU seconds so far by part; a task that ended is among the children of who waited for it."""
    used: dict[str, float] = {}
    for process in airflow.running():
        root = psutil.Process(process.pid)
        times = root.cpu_times()
        below = times.children_user + times.children_system
        below += sum(sum(child.cpu_times()[:4]) for child in root.children(recursive=True))
        own = times.user + times.system
        used |= {"tasks": below, "scheduler": own} if process.name == "scheduler" else {process.name: own + below}
    return used


def idle(airflow: EmbeddedAirflow, rest: AirflowRest, seconds: float) -> dict[str, float]:
    """CPU seconds a second by part, with the same questions as while runs are waited for."""
    say(f"idle for {seconds:.0f} s")
    before, began = cpu(airflow), time.monotonic()
    while time.monotonic() - began < seconds:
        rest.runs(SCORE)
        time.sleep(0.5)
    window = time.monotonic() - began
    return {part: (value - before[part]) / window for part, value in cpu(airflow).items()}


def tally(root: Path, *arguments: str) -> float:
    """The CPU seconds of a command; its log goes to this terminal when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "tallywright", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"tally {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def prepare(root: Path) -> None:
    """A project with a champion and one scored day, so that the model's package is cached."""
    say("init, ingest, train, one day")
    tally(root.parent, "init", str(root), "--model", MODEL)
    tally(root, "ingest", MODEL, "--from", "2025-01-01", "--to", str(TRAINED))
    tally(root, "train", MODEL, "--date", str(TRAINED), "--by", "a benchmark")
    tally(root, "backfill", MODEL, "--from", str(TRAINED), "--to", str(TRAINED))
    (root / "dags" / "trivial.py").write_text(TRIVIAL, encoding="utf-8")


def add_models(root: Path, models: int) -> None:
    """Copies of the model's folder under other names, until there are that many."""
    for number in range(1, models):
        copy = root / "models" / f"other_{number}"
        shutil.copytree(root / "models" / MODEL, copy)
        text = (copy / "model.yaml").read_text(encoding="utf-8").replace(f"name: {MODEL}", f"name: {copy.name}", 1)
        (copy / "model.yaml").write_text(text, encoding="utf-8")


def measured(root: Path, models: int, days: Iterator[date], given: argparse.Namespace) -> tuple[Bench, list[Way]]:
    """Starts Airflow on the project as it is, and stops it after the runs; each DAG runs once before it counts."""
    airflow = EmbeddedAirflow(root, root / ".tally" / "airflow")
    forms: dict[str, list[dict[str, Any]]] = {SCORE: [{"date": str(next(days))} for _ in range(given.days + 1)]}
    if models == 1:
        forms |= {f"trivial_{count}": [{}] * (given.days + 1) for count in (5, 9)}
    try:
        say(f"{models} models: starting Airflow")
        rest = local.start(airflow)
        for dag in forms:
            wait_until(dag, lambda: rest.has_dag(dag), seconds=60, alive=airflow.missing)  # noqa: B023
        bench = Bench(airflow, rest, models, dict.fromkeys(cpu(airflow), 0.0))
        for dag, first in forms.items():
            bench.way(dag, first[:1])
        bench.idle = idle(airflow, rest, given.idle)
        return bench, [bench.way(dag, others[1:]) for dag, others in forms.items()]
    finally:
        say(f"stopped {', '.join(airflow.stop())}")


def pairs(root: Path, given: argparse.Namespace) -> None:
    """A day in each of two Airflows, in turn: what the models beside it add to a day's CPU seconds and clock."""
    many = root.with_name("many")
    prepare(many)
    add_models(many, given.models)
    days = [{"date": str(TRAINED + timedelta(days=number + 1))} for number in range(given.pairs + 1)]
    airflows = {
        models: EmbeddedAirflow(at, at / ".tally" / "airflow") for models, at in ((1, root), (given.models, many))
    }
    try:
        benches = []
        for models, airflow in airflows.items():
            say(f"{models} models: starting Airflow")
            rest = local.start(airflow)
            wait_until(SCORE, lambda: rest.has_dag(SCORE), seconds=60, alive=airflow.missing)  # noqa: B023
            benches.append(Bench(airflow, rest, models, dict.fromkeys(cpu(airflow), 0.0)))
        for bench in benches:
            bench.way(SCORE, days[:1])
            bench.idle = idle(bench.airflow, bench.rest, given.idle)
        ratios: dict[str, list[float]] = {"gross": [], "net": [], "seconds": []}
        for number, day in enumerate(days[1:]):
            order = benches if number % 2 else benches[::-1]
            found = {bench.models: bench.way(SCORE, [day]) for bench in order}
            for name, values in ratios.items():
                values.append(getattr(found[given.models], name) / getattr(found[1], name))
    finally:
        for airflow in airflows.values():
            airflow.stop()
    print(f"a day with {given.models} models, with 1 = 1; {given.pairs} pairs")
    for name, values in ratios.items():
        low, high = median_interval(values)
        print(f"{name:>8}  {median(values):.3f}  (95 % of {low:.3f} to {high:.3f})")


def median_interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies with at least 95 % confidence: order statistics, by the binomial distribution."""
    ordered, count = sorted(values), len(values)
    outside, left_out = 1 / 2**count, 0  # how likely the median lies among the ranks left out at one end
    while 2 * outside <= 0.05:
        left_out += 1
        outside += comb(count, left_out) / 2**count
    return ordered[max(left_out - 1, 0)], ordered[count - max(left_out, 1)]


def say(text: str) -> None:
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)


def show(steps: dict[str, float], idles: dict[int, dict[str, float]], ways: list[Way]) -> None:
    """The table, what nothing costs, and the steps as commands of their own."""
    parts = list(ways[0].cpu)
    head = "".join(f"{part:>14}" for part in parts)
    print(f"{'models':>6}  {'DAG':<20}{head}{'gross':>8}{'net':>8}{'clock':>8}   (s a run)")
    for way in ways:
        spent = "".join(f"{value:>14.2f}" for value in way.cpu.values())
        print(f"{way.models:>6}  {way.dag:<20}{spent}{way.gross:>8.2f}{way.net:>8.2f}{way.seconds:>8.2f}")
    for models, idling in idles.items():
        print(f"{models:>6}  {'idle, CPU s a second':<20}" + "".join(f"{idling[part]:>14.3f}" for part in parts))
    each = ", ".join(f"{step} {value:.2f}" for step, value in steps.items())
    print(f"the steps by themselves, CPU s: {each}; together {sum(steps.values()):.2f}")
    scored = [way for way in ways if way.dag == SCORE]
    one, many = scored[0], scored[-1]
    if many.models > one.models:
        gross, net = many.gross / one.gross, many.net / one.net
        print(f"a day with {many.models} models, with 1 = 1: gross {gross:.2f}, net {net:.2f}")


def main() -> None:
    """Reads the arguments, makes the project in a folder of its own, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--days", type=int, default=6, help="runs at once; the sample has 29 days to score")
    parser.add_argument("--idle", type=float, default=20.0, help="seconds of nothing, for the baseline")
    parser.add_argument("--pairs", type=int, default=0, help="pairs of days in two Airflows side by side, at most 27")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["TALLYWRIGHT_ENV"] = "local"
    os.environ.pop("TALLYWRIGHT_HOME", None)
    days = iter([TRAINED + timedelta(days=number) for number in range(1, 30)])
    with tempfile.TemporaryDirectory(prefix="tallywright-airflow-") as folder:
        root = Path(folder).resolve() / "project"
        prepare(root)
        if given.pairs:
            pairs(root, given)
            return
        day = str(next(days))
        steps = {step: tally(root, "run", MODEL, step, "--date", day, "--run-id", "by-hand") for step in STEPS}
        bench, ways = measured(root, 1, days, given)
        idles = {1: bench.idle}
        if given.models > 1:
            add_models(root, given.models)
            bench, more = measured(root, given.models, days, given)
            ways, idles[given.models] = ways + more, bench.idle
    if given.json:
        print(json.dumps({"steps": steps, "idle": idles, "ways": [asdict(way) for way in ways]}, indent=2))
    else:
        show(steps, idles, ways)


if __name__ == "__main__":
    main()
