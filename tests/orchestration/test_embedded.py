"""A real Airflow on loopback runs a real (generated) project: the processes, the forms, a backfill, its repetition."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import COMMANDS, EmbeddedAirflow, free_port, started_at
from tallywright.orchestration.embedded.rest import AirflowRest

MODEL = "late_orders"
Served = Callable[[Path], AbstractContextManager[EmbeddedAirflow]]
FIRST, LAST = date(2025, 4, 2), date(2025, 4, 3)


def test_a_home_keeps_its_secrets_to_its_owner(tmp_path: Path) -> None:
    first = EmbeddedAirflow(tmp_path, tmp_path / "home")
    assert first.secrets() == EmbeddedAirflow(tmp_path, tmp_path / "home").secrets()
    assert (tmp_path / "home" / "secrets.json").stat().st_mode & 0o777 == 0o600
    environment = first.environment()
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert first.running() == []
    assert first.stop() == []


def test_a_later_process_with_the_same_id_is_not_ours(tmp_path: Path) -> None:
    airflow = EmbeddedAirflow(tmp_path, tmp_path)
    own = {"name": "scheduler", "pid": os.getpid(), "started": "another time"}
    (tmp_path / "processes.json").write_text(json.dumps([own]))
    assert airflow.running() == []
    assert airflow.stop() == []
    (tmp_path / "processes.json").write_text(json.dumps([own | {"started": started_at(os.getpid())}]))
    assert [process.pid for process in airflow.running()] == [os.getpid()]
    assert airflow.missing() == [name for name in COMMANDS if name != "scheduler"]


def test_a_free_port_is_free() -> None:
    assert 1024 < free_port() < 65536


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, tally: Callable[..., str], served: Served
) -> Iterator[EmbeddedAirflow]:
    """A generated project with a champion, and its Airflow, healthy."""
    root = tmp_path_factory.mktemp("embedded") / "sample"
    tally(root.parent, "init", str(root), "--model", MODEL)
    tally(root, "ingest", MODEL, "--from", "2025-01-01", "--to", str(LAST))
    tally(root, "train", MODEL, "--date", "2025-04-01", "--by", "a test")
    with served(root) as airflow:
        yield airflow


@pytest.fixture
def rest(airflow: EmbeddedAirflow) -> AirflowRest:
    return local.client(airflow)


def tallies(root: Path, tally: Callable[..., str]) -> list[dict[str, Any]]:
    columns = "score_date, generation, run_id, committed_at"
    sql = f"select {columns} from {MODEL}__tallies order by all"
    return list(json.loads(tally(root, "query", sql, "--json")))


@pytest.mark.airflow
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_backfill_makes_one_tally_a_day_and_its_repetition_none(
    airflow: EmbeddedAirflow,
    rest: AirflowRest,
    backfilled: Callable[..., list[dict[str, Any]]],
    tally: Callable[..., str],
) -> None:
    dag = f"{MODEL}__score"
    runs = backfilled(airflow, rest, MODEL, FIRST, LAST)
    logs = {run["dag_run_id"]: rest.task_states(dag, run["dag_run_id"]) for run in runs}
    assert [run["state"] for run in runs] == ["success", "success"], logs
    assert all(states["trigger_train"] == "skipped" for states in logs.values())
    made = tallies(airflow.root, tally)
    assert [row["score_date"] for row in made] == [str(FIRST), str(LAST)]
    assert {row["run_id"] for row in made} == set(logs)

    assert "tallywright run" in rest.task_log(dag, runs[0]["dag_run_id"], "score")

    assert [run["state"] for run in backfilled(airflow, rest, MODEL, FIRST, LAST)] == ["success", "success"]
    assert tallies(airflow.root, tally) == made
