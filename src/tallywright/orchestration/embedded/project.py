"""Starts the embedded Airflow of a project, and waits until every DAG is parsed and the pool exists."""

from __future__ import annotations

import os
from pathlib import Path

from tallywright.orchestration.command import POOL
from tallywright.orchestration.embedded.processes import USER, EmbeddedAirflow, wait_until
from tallywright.orchestration.embedded.rest import AirflowRest
from tallywright.orchestration.projects import load_all


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
    """The lines that tell where the UI is and how to sign in."""
    return f"Airflow UI  {airflow.address}\nuser        {USER}\npassword    {airflow.password}"
