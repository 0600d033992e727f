"""The project's own Airflow on this machine: `up` (in the foreground), `start`, `stop`, `status`.

Used by `make airflow`, `make airflow-stop` and the demo. Everything it makes lies in `.tally/airflow`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from tallywright.errors import TallyError
from tallywright.orchestration.embedded import USER, EmbeddedAirflow, wait_until
from tallywright.orchestration.projects import load_all
from tallywright.orchestration.rest import AirflowRest
from tallywright.spec.load import project_root

POOL = "tallywright"


def embedded(root: Path) -> EmbeddedAirflow:
    """This project's Airflow; $TALLYWRIGHT_HOME moves it together with the lake."""
    home = Path(os.environ.get("TALLYWRIGHT_HOME") or ".tally")
    return EmbeddedAirflow(root, (root / home).absolute() / "airflow")


def client(airflow: EmbeddedAirflow) -> AirflowRest:
    """A REST client signed in as the only user."""
    return AirflowRest(airflow.address, USER, airflow.password)


def start(airflow: EmbeddedAirflow) -> AirflowRest:
    """Starts what does not run, waits until it is healthy, every DAG is there and the pool exists."""
    airflow.start()
    rest = client(airflow)
    wait_until("a healthy Airflow", rest.healthy, seconds=120, alive=airflow.missing)
    projects = load_all(airflow.root)[0]
    slots = max((project.environment.engine.pool_slots for project in projects), default=2)
    rest.set_pool(POOL, slots, "Heavy steps that may run at once on this machine")
    for name in (project.spec.name for project in projects):
        wait_until(f"the DAGs of {name}", lambda: rest.has_dag(f"{name}__train"), seconds=60, alive=airflow.missing)  # noqa: B023
    return rest


def banner(airflow: EmbeddedAirflow) -> str:
    """Where the UI is and how to sign in."""
    return f"Airflow UI  {airflow.address}\nuser        {USER}\npassword    {airflow.password}"


def up(airflow: EmbeddedAirflow) -> None:
    """Runs in the foreground until Ctrl-C (or a TERM), or until one of the processes dies."""
    print("starting Airflow (about 20 s) …", flush=True)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        start(airflow)
        print(f"\n{banner(airflow)}\nlogs        {airflow.home / 'logs'}\n\nCtrl-C stops it.", flush=True)
        while not stopped.wait(2.0):
            dead = airflow.missing()
            if dead:
                sys.exit(f"{', '.join(dead)} stopped; see {airflow.home / 'logs'}")
    finally:
        print("stopping Airflow …", flush=True)
        airflow.stop()


def main() -> None:
    """Reads the command and carries it out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("command", choices=("up", "start", "stop", "status"))
    command = parser.parse_args().command
    airflow = embedded(project_root())
    if command == "up":
        up(airflow)
    elif command == "start":
        start(airflow)
        print(banner(airflow))
    elif command == "stop":
        stopped = airflow.stop()
        print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
    else:
        running = airflow.running()
        print(f"{banner(airflow)}\nrunning     {', '.join(p.name for p in running)}" if running else "not running")


if __name__ == "__main__":
    try:
        main()
    except TallyError as error:
        sys.exit(f"error: {error}")
