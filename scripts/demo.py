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

from tallywright.data.delta.lake import Lake
from tallywright.data.fingerprint import digest
from tallywright.errors import TallyError
from tallywright.orchestration.doc_md import backfill_bounds
from tallywright.orchestration.embedded import project as local
from tallywright.spec import Project, load_project
from tallywright.spec.load import project_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallywright.orchestration.embedded.processes import EmbeddedAirflow
    from tallywright.orchestration.embedded.rest import AirflowRest

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

    def replace_if_changed(self) -> None:
        """Waits until starting is over, whether it worked or not."""
        self._thread.join()

    def wait(self) -> AirflowRest:
        """The REST client, once all is healthy."""
        self.replace_if_changed()
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
        elif " INFO " not in line:
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


@dataclass(slots=True)
class Quiet:
    """Says something when nothing else was said for a while, so that a long step is seen to work."""

    seconds: float = 10
    _last: float = field(default_factory=time.monotonic)

    def spoke(self) -> None:
        """Something was said just now."""
        self._last = time.monotonic()

    @property
    def too_long(self) -> bool:
        """True when it is time to say something."""
        return time.monotonic() - self._last >= self.seconds


def train(rest: AirflowRest) -> None:
    """Triggers the train DAG by REST and follows its tasks."""
    dag = f"{MODEL}__train"
    run = rest.trigger(dag, {"date": str(FIRST), "effective_from": str(FIRST)})
    say(f"train: {dag} triggered as of {FIRST}, promotion effective from {FIRST}")
    seen: dict[str, str] = {}
    quiet = Quiet()
    state = "queued"
    while state in ("queued", "running"):
        time.sleep(1)
        state = rest.run_state(dag, run)
        for task, now in rest.task_states(dag, run).items():
            if now != seen.get(task) and now in ("running", "up_for_retry", *OVER):
                say(f"  {task:<16} {now}")
                quiet.spoke()
            seen[task] = now
        if quiet.too_long:
            for task in (task for task, now in seen.items() if now == "running"):
                say(f"  {task:<16} … {_last_line(rest, dag, run, task)}")
            quiet.spoke()
    if state != "success":
        _show_failure(rest, dag, [run])


def _last_line(rest: AirflowRest, dag: str, run: str, task: str) -> str:
    lines = [line for line in rest.task_log(dag, run, task).splitlines() if line and not line.startswith("::")]
    return lines[-1][:100] if lines else "starting"


def backfill(airflow: EmbeddedAirflow, rest: AirflowRest, project: Project) -> None:
    """`airflow backfill create` over the week, and its progress to the end."""
    dag = f"{MODEL}__score"
    start, end = backfill_bounds(project.spec, FIRST, LAST)
    command = ["backfill", "create", "--dag-id", dag, "--from-date", start, "--to-date", end,
               "--reprocess-behavior", "completed", "--max-active-runs", "4"]  # fmt: skip
    if rest.has_active_backfill(dag):
        say("waiting for the backfill before this one to end")
        while rest.has_active_backfill(dag):
            time.sleep(1)
    say(f"airflow {' '.join(command)}")
    made = airflow.airflow(*command)
    if made.returncode != 0:
        raise SystemExit(f"airflow backfill create failed:\n{made.stdout[-2000:]}")
    states = _follow(rest, dag)
    failed = [run for run, state in states.items() if state != "success"]
    if failed:
        _show_failure(rest, dag, failed)


def _follow(rest: AirflowRest, dag: str) -> dict[str, str]:
    """Waits for the week's runs and returns their final states by run id; says what is going on."""
    told: set[str] = set()
    quiet = Quiet()
    while True:
        runs = {str(run["dag_run_id"]): run for run in rest.runs(dag, run_type="backfill") if _in_week(run)}
        over = [name for name, run in runs.items() if run["state"] in OVER]
        for name in over:
            if name not in told:
                told.add(name)
                quiet.spoke()
                say(f"  {_day(runs[name])}  {runs[name]['state']}  ({len(told)} of {len(runs)} days)")
        if runs and len(over) == len(runs):
            return {name: str(run["state"]) for name, run in runs.items()}
        if quiet.too_long:
            quiet.spoke()
            tasks = rest.run_task_states(dag, runs)
            now = ", ".join(f"{_day(runs[run])[5:]} {task}" for run, task, state in tasks if state == "running")
            say(f"  {sum(state in OVER for _, _, state in tasks)} of {len(tasks)} tasks done; now {now or 'queueing'}")
        time.sleep(1)


def _day(run: dict[str, Any]) -> str:
    return str(run["data_interval_start"])[:10]


def _in_week(run: dict[str, Any]) -> bool:
    return str(FIRST) <= _day(run) <= str(LAST)


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


def scores_digest(project: Project) -> str:
    """How many scores there are, and the order-free digest of all their columns."""
    scores = Lake.of(project.environment).read(project.spec.table("scores"))
    return f"{scores.num_rows:,} scores, digest {digest(scores, sorted(scores.column_names)).hex[:16]}"


def answers(project: Project) -> None:
    """What the week looks like, where one score came from, and what to ask next."""
    print("\nThe scored days (`tally days` names the columns that drifted)")
    print(f"{'score date':<11}{'rows':>6}{'mean score':>12}{'version':>9}{'drifted':>9}{'real AUC':>10}  decision")
    for day in json.loads(tally("days", MODEL, "--from", str(FIRST), "--to", str(LAST), "--json")):
        auc = "not yet" if day["realised_auc"] is None else f"{day['realised_auc']:.3f}"
        drifted = f"{len(day['drifted_columns'])} cols"
        print(f"{day['score_date']:<11}{day['rows']:>6,}{day['mean_score']:>12.3f}{day['model_version']:>9}"
              f"{drifted:>9}{auc:>10}  {day['decision']}")  # fmt: skip
    print(f"{scores_digest(project)} over all columns: the same with every ENGINE")
    flight = json.loads(tally("query", RISKIEST, "--json"))[0]["flight_id"]
    print(f"\nWhere one score came from (all of it: tally trace {MODEL} {flight} 2013-07-01)")
    for name, text in _short_trace(json.loads(tally("trace", MODEL, str(flight), "2013-07-01", "--json"))):
        print(f"  {name:<10}{text}")
    print("\nThree queries to try")
    for sql in QUERIES:
        print(f'  tally query "{sql}"')
    print(f"\nThe second one's answer\n{tally('query', QUERIES[1])}")
    settings = [f"{name}={os.environ[name]}" for name in ("TALLYWRIGHT_ENV", "TALLYWRIGHT_HOME") if name in os.environ]
    print(f"(`tally` is {' '.join([*settings, str(Path(sys.executable).parent / 'tally')])})")


def _short_trace(trace: dict[str, Any]) -> list[tuple[str, str]]:
    """One line for each link of the chain that `tally trace` shows."""
    tally_part, source, model, training = (trace[name] for name in ("tally", "input", "model", "training"))
    promotion, gates = trace["promotion"], trace["gates"]
    return [
        ("score", f"probability {trace['score']['probability']:.4f}, role {trace['score']['role']}"),
        ("tally", f"generation {tally_part['generation']}, run {tally_part['run_id']}"),
        ("input", f"{source['table']} version {source['version']}, fingerprint {source['fingerprint'][:16]}"),
        (
            "model",
            f"version {model['version']}, digest {model['digest'][:16]}, through {model['trained_through']}",
        ),
        ("training", f"run {training['run id']}, code {training['code'][:16]}"),
        ("gates", f"{len(gates)} checks, {sum(check['verdict'] == 'fail' for check in gates) or 'none'} failed"),
        ("promotion", f"from {promotion['effective_from']} by {promotion['approver']}: {promotion['reason']}"),
    ]


def make(target: str, engine: str) -> str:
    """The command line of a target of the Makefile for this engine's demo."""
    return f"make {target}" if engine == "local" else f"make {target} ENGINE={engine}"


def farewell(airflow: EmbeddedAirflow, engine: str, *, stop: bool) -> None:
    """Where everything is, and how to stop it; or stops it."""
    page = airflow.home.parent / f"{MODEL}-report.html"
    tally("report", MODEL, "--out", str(page), "--json")
    print(f"\nThe report: {page}")
    if stop:
        print(f"Airflow stopped: {', '.join(airflow.stop())}.  `{make('airflow', engine)}` brings the UI up again.")
        return
    print(f"\n{local.banner(airflow)}\n\nAirflow goes on running. Stop it with `{make('airflow-stop', engine)}`.")


def main() -> None:
    """Runs the demo from start to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--stop", action="store_true", help="stop Airflow at the end (so does $CI)")
    parser.add_argument("--retrain", action="store_true", help="train although a champion stands")
    given = parser.parse_args()
    root = project_root()
    os.chdir(root)
    stop = given.stop or bool(os.environ.get("CI"))
    project = load_project(MODEL, root=root)
    engine = project.spec.scoring.engine
    airflow = local.embedded(root)
    say(f"the scoring engine is {engine}; everything is kept in {airflow.home.parent}")
    say("starting Airflow (API server, scheduler, DAG processor on loopback) beside the ingest")
    starting = StartingAirflow(airflow)
    try:
        _live(project, starting, retrain=given.retrain)
    except BaseException:
        if stop:
            airflow.stop()
        else:
            look = f"{airflow.address} ({airflow.password})"
            print(f"\nAirflow still runs, for a look: {look}; `{make('airflow-stop', engine)}`", file=sys.stderr)
        raise
    farewell(airflow, engine, stop=stop)
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
    answers(project)


if __name__ == "__main__":
    try:
        main()
    except TallyError as error:
        sys.exit(f"error: {error}")
