"""A real Airflow under SIGKILL: the supervisor of a task that scores, then the scheduler; both runs end well, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable
from synthetic import content_of

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest

from .conftest import World

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(3600)]

UNSUPERVISED, UNSCHEDULED = date(2025, 4, 8), date(2025, 4, 9)
BRIEF = {
    "TASK_INSTANCE_HEARTBEAT_TIMEOUT": 12,
    "TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 3,
    "SCHEDULER_HEALTH_CHECK_THRESHOLD": 20,
    "ORPHANED_TASKS_CHECK_INTERVAL": 10,
}
"""What Airflow waits for five minutes by default: a task without a heartbeat, a task of a scheduler that is gone."""
SOONER = """
for dag in list(globals().values()):
    for task in getattr(dag, "tasks", ()):
        task.retry_delay = __import__("datetime").timedelta(seconds=1)
"""


@dataclass
class Live:
    """A project, its Airflow, and the file that a step which scores creates, if it is not there, and is then held."""

    world: World
    airflow: EmbeddedAirflow
    held: Path

    @property
    def rest(self) -> AirflowRest:
        return local.client(self.airflow)

    def score(self, day: date) -> tuple[str, psutil.Process]:
        """Starts a run of a day; gives its id and its score step, which is held between staging and commit."""
        self.held.unlink(missing_ok=True)
        run = self.rest.trigger(f"{self.world.model}__score", {"date": str(day)})
        deadline = time.monotonic() + 900
        while not (self.held.exists() and self.held.read_text().endswith("\n")):
            assert self.rest.run_state(f"{self.world.model}__score", run) in ("queued", "running")
            assert time.monotonic() < deadline, self.states(run)
            time.sleep(0.2)
        return run, psutil.Process(int(self.held.read_text()))

    def states(self, run: str) -> dict[str, str]:
        return self.rest.task_states(f"{self.world.model}__score", run)

    def ended(self, run: str) -> str:
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            state = self.rest.run_state(f"{self.world.model}__score", run)
            if state in ("success", "failed"):
                return state
            time.sleep(0.5)
        return f"not ended: {self.states(run)}"


@pytest.fixture
def live(copy: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    world, held = copy(), tmp_path / "held"
    held.touch()  # nobody is held yet
    with (world.root / "dags" / "tallywright_dags.py").open("a") as dags:
        dags.write(SOONER)
    monkeypatch.setenv("TALLYWRIGHT_KILL_AT", "staged")
    monkeypatch.setenv("TALLYWRIGHT_KILL_WITH", "SIGSTOP")
    monkeypatch.setenv("TALLYWRIGHT_KILL_ONCE", str(held))
    for name, seconds in BRIEF.items():
        monkeypatch.setenv(f"AIRFLOW__SCHEDULER__{name}", str(seconds))
    airflow = EmbeddedAirflow(world.root, world.root / ".tally" / "airflow", parallelism=2)
    try:
        local.start(airflow)
        yield Live(world, airflow, held)
    finally:
        airflow.stop()


def gone(processes: list[psutil.Process], seconds: float = 120) -> None:
    _, left = psutil.wait_procs(processes, timeout=seconds)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []


def days(world: World) -> list[Any]:
    """What both days are made of: the rows, the tallies, the profiles."""
    table = DeltaTable(str(world.root / ".tally/lake" / f"{world.model}__scores"))
    chosen = f"where score_date in ('{UNSUPERVISED}', '{UNSCHEDULED}') order by all"
    tally = "score_date, generation, reason, rows, key_digest, profile_digest"
    return [
        *(content_of(table, day) for day in (UNSUPERVISED, UNSCHEDULED)),
        world.rows(f"select {tally} from {world.model}__tallies {chosen}"),
        world.rows(f"select score_date, generation, profile_json from {world.model}__profile {chosen}"),
    ]


@pytest.mark.long
def test_runs_survive_the_supervisor_of_a_task_and_the_scheduler(live: Live, copy: Callable[..., World]) -> None:
    calm = copy("calm")
    for day in (UNSUPERVISED, UNSCHEDULED):
        calm.tally("score", calm.model, "--date", str(day))
    unscheduled, going_on = live.score(UNSCHEDULED)
    unsupervised, orphan = live.score(UNSUPERVISED)

    guard = orphan.parent()
    task = guard.parent()
    supervisor = task.parent()
    assert "LocalExecutor" in " ".join(supervisor.cmdline())
    supervisor.kill()
    gone([supervisor, task, guard, *guard.children(recursive=True), orphan])

    (scheduler,) = (psutil.Process(one.pid) for one in live.airflow.running() if one.name == "scheduler")
    executors = scheduler.children()
    scheduler.kill()
    gone([scheduler])
    assert live.airflow.missing() == ["scheduler"]
    others = {one.pid for one in live.airflow.running()}
    local.start(live.airflow)
    assert others < {one.pid for one in live.airflow.running()}
    going_on.resume()
    try:
        assert [live.ended(run) for run in (unscheduled, unsupervised)] == ["success", "success"]
        assert days(live.world) == days(calm)
    finally:
        for executor in executors:  # a killed scheduler leaves its idle executors behind
            with suppress(psutil.NoSuchProcess):
                executor.kill()
