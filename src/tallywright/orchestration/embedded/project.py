"""Starts the embedded Airflow of a project, and waits until every DAG is parsed and the pool exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tallywright.lifecycle.plan import Pipeline
from tallywright.orchestration.command import POOL
from tallywright.orchestration.embedded.processes import USER, EmbeddedAirflow, wait_until
from tallywright.orchestration.embedded.rest import AirflowRest
from tallywright.orchestration.projects import load_all

if TYPE_CHECKING:
    from collections.abc import Iterable


def embedded(root: Path, *, paused: bool = False) -> EmbeddedAirflow:
    """This project's Airflow; $TALLYWRIGHT_HOME moves it together with the lake.

    Args:
        root: The project's root.
        paused: True when new DAGs wait until somebody unpauses them.
    """
    home = Path(os.environ.get("TALLYWRIGHT_HOME") or ".tally")
    return EmbeddedAirflow(root, (root / home).absolute() / "airflow", paused=paused)


def client(airflow: EmbeddedAirflow) -> AirflowRest:
    """A REST client signed in as the only user."""
    return AirflowRest(airflow.address, USER, airflow.password)


def start(airflow: EmbeddedAirflow, port: int | None = None) -> AirflowRest:
    """Starts what does not run, waits until it is healthy, every DAG is there and the pool exists.

    Raises:
        UsageError: It takes too long, a process dies, or the port that was asked for cannot be had.
        StorageError: The database cannot be made.
    """
    airflow.start(port)
    rest = client(airflow)
    wait_until("a healthy Airflow", rest.healthy, seconds=120, alive=airflow.missing)
    projects = load_all(airflow.root)[0]
    slots = max((project.environment.engine.pool_slots for project in projects), default=2)
    rest.set_pool(POOL, slots, "Heavy steps that may run at once on this machine")
    for name in (project.spec.name for project in projects):
        wait_until(f"the DAGs of {name}", lambda: rest.has_dag(f"{name}__maintain"), seconds=60, alive=airflow.missing)  # noqa: B023
    return rest


def unpause(rest: AirflowRest, models: Iterable[str]) -> list[str]:
    """Unpauses every DAG of these models, and returns the ids of those that were paused."""
    found = [f"{model}__{pipeline.value}" for model in models for pipeline in Pipeline]
    waiting = [dag for dag in found if rest.has_dag(dag) and rest.is_paused(dag)]
    for dag in waiting:
        rest.unpause(dag)
    return waiting


def banner(airflow: EmbeddedAirflow) -> str:
    """The lines that tell where the UI is and how to sign in."""
    return f"Airflow UI  {airflow.address}\nuser        {USER}\npassword    {airflow.password}"
