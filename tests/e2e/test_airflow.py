"""Real Airflow over the generated project: a backfill makes one tally a day, and repeating it commits nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tallywright.orchestration import local
from tallywright.orchestration.documents import backfill_bounds
from tallywright.spec import load_project

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(900)]

FIRST, LAST = date(2025, 4, 8), date(2025, 4, 14)
DAG = "late_orders__score"


@pytest.fixture
def airflow(copy) -> Iterator[tuple]:
    world = copy()
    embedded = local.embedded(world.root)
    try:
        yield world, embedded, local.start(embedded)
    finally:
        embedded.stop()
    assert embedded.running() == []


def _backfill(embedded, rest, root: Path, behaviour: str) -> list[dict]:
    start, end = backfill_bounds(load_project("late_orders", root=root).spec, FIRST, LAST)
    made = embedded.airflow("backfill", "create", "--dag-id", DAG, "--from-date", start, "--to-date", end,
                            "--reprocess-behavior", behaviour, "--max-active-runs", "2")  # fmt: skip
    assert made.returncode == 0, made.stdout
    time.sleep(3)
    ends = time.monotonic() + 600
    while time.monotonic() < ends:
        runs = rest.runs(DAG, run_type="backfill")
        if len(runs) == 7 and all(run["state"] in {"success", "failed"} for run in runs):
            return runs
        time.sleep(2)
    raise AssertionError([(run["dag_run_id"], run["state"]) for run in rest.runs(DAG)])


def _commits(root: Path, table: str) -> int:
    return len(list((root / f".tally/lake/late_orders__{table}/_delta_log").glob("*.json")))


def test_seven_days_are_seven_tallies_and_a_repeat_commits_nothing(airflow) -> None:
    world, embedded, rest = airflow
    before = _commits(world.root, "scores")
    runs = _backfill(embedded, rest, world.root, "none")
    assert {run["state"] for run in runs} == {"success"}, [rest.task_states(DAG, run["dag_run_id"]) for run in runs]
    tallies = world.rows(
        "select score_date::varchar d, generation, reason, engine from late_orders__tallies "
        f"where score_date between date '{FIRST}' and date '{LAST}' order by 1"
    )
    assert [row["d"] for row in tallies] == [f"2025-04-{day:02d}" for day in range(8, 15)]
    assert {(row["generation"], row["reason"]) for row in tallies} == {(1, "first")}
    assert _commits(world.root, "scores") == before + 7

    again = _backfill(embedded, rest, world.root, "completed")
    assert {run["state"] for run in again} == {"success"}
    assert _commits(world.root, "scores") == before + 7
    assert not rest.runs("late_orders__train"), "a backfill triggers nothing"
