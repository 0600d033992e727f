"""The whole life of a real model under real Airflow: ingest, train, gate, promote, backfill a week, watch, explain.

Everything happens by the commands and DAGs that a user has; this script only starts them and says what they do. It can
be run again: equal inputs make no new commits, and a champion that stands is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallywright.errors import TallyError
from tallywright.orchestration import local
from tallywright.orchestration.documents import backfill_bounds
from tallywright.spec import Project, load_project
from tallywright.spec.load import project_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.orchestration.embedded import EmbeddedAirflow
    from tallywright.orchestration.rest import AirflowRest

MODEL = "flight_delays"
FIRST = date(2013, 6, 27)
LAST = date(2013, 7, 3)
OVER = ("success", "failed", "skipped", "upstream_failed", "removed")
BEGAN = time.monotonic()


def say(text: str) -> None:
    """One line with the time since the start."""
    seconds = int(time.monotonic() - BEGAN)
    print(f"[{seconds // 60}:{seconds % 60:02d}] {text}", flush=True)


def tally(*arguments: str) -> str:
    """What a `tally` command prints; its messages go to this terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "tallywright", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"`tally {' '.join(arguments)}` failed with exit code {done.returncode}")
    return done.stdout.rstrip()


@dataclass(slots=True)
class StartingAirflow:
    """Airflow on its way up in a thread, beside the ingest."""

    airflow: EmbeddedAirflow
    error: BaseException | None = None
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._start, daemon=True)
        self._thread.start()

    def _start(self) -> None:
        try:
            local.start(self.airflow)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self.error = error

    def settle(self) -> None:
        """Waits until starting is over, whether it worked or not."""
        self._thread.join()

    def wait(self) -> AirflowRest:
        """The REST client, once all is healthy."""
        self.settle()
        if self.error is not None:
            raise self.error
        return local.client(self.airflow)


def ingest(project: Project) -> None:
    """Raw flights to features and labels, for the training window and the week, in one run."""
    training = project.spec.training
    first = FIRST - timedelta(days=training.window_days + training.holdout_days)
    total = (LAST - first).days + 1
    say(f"ingest {total} days, {first} to {LAST}: raw CSV -> contract check -> features and labels (one command)")
    command = ["ingest", MODEL, "--from", str(first), "--to", str(LAST)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tallywright", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    done = 0
    for line in _lines(process):
        if line[:2] == "20" and " rows " in line:
            done += 1
            if done % 30 == 0 or done == total:
                say(f"  {done:>3} of {total} days   {line}")
        else:
            say(f"  {line}")
    if process.wait() != 0:
        raise SystemExit("the ingest failed")


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for
    return (line.rstrip("\n") for line in process.stdout)


def champion() -> str:
    """Who is champion on the first day of the week, in words; empty when nobody is."""
    entries: list[dict[str, Any]] = json.loads(tally("history", MODEL, "--json"))
    standing = [entry for entry in entries if str(entry.get("effective_from", "")) <= str(FIRST)]
    return f"version {standing[-1]['model_version']}" if standing else ""


def train(rest: AirflowRest) -> None:
    """Triggers the train DAG by REST and follows its tasks."""
    dag = f"{MODEL}__train"
    run = rest.trigger(dag, {"date": str(FIRST), "effective_from": str(FIRST)})
    say(f"train: {dag} triggered as of {FIRST}, promotion effective from {FIRST}")
    seen: dict[str, str] = {}
    state = "queued"
    while state in ("queued", "running"):
        time.sleep(1)
        state = rest.run_state(dag, run)
        for task, now in rest.task_states(dag, run).items():
            if now != seen.get(task) and now in ("running", "up_for_retry", *OVER):
                say(f"  {task:<16} {now}")
            seen[task] = now
    if state != "success":
        _show_failure(rest, dag, [run])


def backfill(airflow: EmbeddedAirflow, rest: AirflowRest, project: Project) -> None:
    """`airflow backfill create` over the week, and its progress to the end."""
    dag = f"{MODEL}__score"
    start, end = backfill_bounds(project.spec, FIRST, LAST)
    command = ["backfill", "create", "--dag-id", dag, "--from-date", start, "--to-date", end,
               "--reprocess-behavior", "completed", "--max-active-runs", "2"]  # fmt: skip
    say(f"airflow {' '.join(command)}")
    made = airflow.airflow(*command)
    if made.returncode != 0:
        raise SystemExit(f"airflow backfill create failed:\n{made.stdout[-2000:]}")
    runs: list[str] = []
    finished: set[str] = set()
    while not runs or len(finished) < len(runs):
        time.sleep(1)
        states = {run["dag_run_id"]: run for run in rest.runs(dag, run_type="backfill")}
        runs = [name for name, run in states.items() if str(FIRST) <= str(run["data_interval_start"])[:10] <= str(LAST)]
        for name in runs:
            if states[name]["state"] in OVER and name not in finished:
                finished.add(name)
                day = states[name]["data_interval_start"][:10]
                say(f"  {day}  {states[name]['state']}  ({len(finished)} of {len(runs)})")
    failed = [name for name in runs if states[name]["state"] != "success"]
    if failed:
        _show_failure(rest, dag, failed)


def _show_failure(rest: AirflowRest, dag: str, runs: list[str]) -> None:
    for run in runs:
        failed = [task for task, state in rest.task_states(dag, run).items() if state == "failed"]
        for task in failed[:1]:
            print("\n".join(rest.task_log(dag, run, task).splitlines()[-25:]))
    raise SystemExit(f"{dag}: {len(runs)} run(s) failed; the log of the first failed task stands above")


RISKIEST = """select flight_id from flight_delays__scores where score_date = '2013-07-01'
order by probability desc, flight_id limit 1"""
QUERIES = (
    (
        "select score_date, model_version, count(*) as flights, avg(probability) as mean_score "
        "from flight_delays__scores group by all order by all"
    ),
    (
        "select score_date, avg(probability) as expected_late, avg(late) as really_late "
        "from flight_delays__scores join flight_delays__labels using (flight_id, score_date) group by all order by all"
    ),
    (
        "select origin, avg(probability) as mean_score, avg(late) as really_late from flight_delays__scores "
        "join flight_delays__features using (flight_id, score_date) "
        "join flight_delays__labels using (flight_id, score_date) group by all order by all"
    ),
)


def answers() -> None:
    """What the week looks like, where one score came from, and what to ask next."""
    print(f"\nThe scored days\n{tally('days', MODEL, '--from', str(FIRST), '--to', str(LAST))}")
    flight = json.loads(tally("query", RISKIEST, "--json"))[0]["flight_id"]
    print(f"\nWhere one score came from:  tally trace {MODEL} {flight} 2013-07-01")
    print(tally("trace", MODEL, str(flight), "2013-07-01"))
    print("\nThree queries to try")
    for sql in QUERIES:
        print(f'  tally query "{sql}"')
    print(f"\nThe first one's answer\n{tally('query', QUERIES[0])}")
    print(f"(`tally` is {Path(sys.executable).parent / 'tally'})")


def farewell(airflow: EmbeddedAirflow, *, stop: bool) -> None:
    """Where everything is, and how to stop it; or stops it."""
    print(f"\nThe report: {json.loads(tally('report', MODEL, '--json'))['report']}")
    if stop:
        print(f"Airflow stopped: {', '.join(airflow.stop())}.  `make airflow` brings the UI up again.")
        return
    print(f"\n{local.banner(airflow)}\n\nAirflow goes on running. Stop it with `make airflow-stop`.")


def main() -> None:
    """Runs the demo from start to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", choices=("local",), default="local", help="the scoring engine")
    parser.add_argument("--stop", action="store_true", help="stop Airflow at the end (so does $CI)")
    parser.add_argument("--retrain", action="store_true", help="train although a champion stands")
    given = parser.parse_args()
    root = project_root()
    os.chdir(root)
    stop = given.stop or bool(os.environ.get("CI"))
    project = load_project(MODEL, root=root)
    airflow = local.embedded(root)
    say("starting Airflow (API server, scheduler, DAG processor on loopback) beside the ingest")
    starting = StartingAirflow(airflow)
    try:
        _live(project, starting, retrain=given.retrain)
    except BaseException:
        if stop:
            airflow.stop()
        else:
            print(
                f"\nAirflow still runs, for a look: {airflow.address} ({airflow.password}); `make airflow-stop`",
                file=sys.stderr,
            )
        raise
    farewell(airflow, stop=stop)
    say("done")


def _live(project: Project, starting: StartingAirflow, *, retrain: bool) -> None:
    ingest(project)
    rest = starting.wait()
    say(f"Airflow is up: {starting.airflow.address}")
    standing = champion()
    if standing and not retrain:
        say(f"champion of {FIRST} is {standing} already: not trained again (--retrain would)")
    else:
        train(rest)
    backfill(starting.airflow, rest, project)
    answers()


if __name__ == "__main__":
    try:
        main()
    except TallyError as error:
        sys.exit(f"error: {error}")
