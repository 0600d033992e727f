"""The project's own Airflow on this machine: `run` (in the foreground), `start`, `stop`, `status`.

Used by `make airflow`, `make airflow-stop` and the demo. Everything it makes lies in `.tally/airflow`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING

from tallywright.errors import TallyError
from tallywright.orchestration.embedded.project import banner, embedded, start
from tallywright.spec.load import project_root

if TYPE_CHECKING:
    from tallywright.orchestration.embedded.processes import EmbeddedAirflow


def run(airflow: EmbeddedAirflow) -> None:
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
    parser.add_argument("command", choices=("run", "start", "stop", "status"))
    command = parser.parse_args().command
    airflow = embedded(project_root())
    if command == "run":
        run(airflow)
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
