"""The life through Airflow where each task runs on a machine of its own: an empty work and cache folder for every one.

That is how tasks run on Celery or Kubernetes workers, which share the lake and the registry and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest

MODEL = "late_orders"
MACHINE = """#!/bin/sh
export MACHINE=$(mktemp -d {machines}/XXXXXXXX)
echo "$5" > "$MACHINE/step"
exec {python} "$@"
"""

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]


def _ended(rest: AirflowRest, dag: str, params: dict[str, str]) -> tuple[str, dict[str, str]]:
    run, deadline = rest.trigger(dag, params), time.monotonic() + 600
    while rest.run_state(dag, run) not in ("success", "failed") and time.monotonic() < deadline:
        time.sleep(1)
    return rest.run_state(dag, run), rest.task_states(dag, run)


def test_the_life_passes_with_an_empty_work_and_cache_folder_for_every_task(
    tmp_path: Path, tally: Callable[..., str], served: Callable[[Path], AbstractContextManager[EmbeddedAirflow]]
) -> None:
    root, machines = tmp_path / "sample", tmp_path / "machines"
    machines.mkdir()
    tally(tmp_path, "init", str(root), "--model", MODEL)
    tally(root, "ingest", MODEL, "--from", "2025-01-01", "--to", "2025-04-01")
    program = tmp_path / "machine"
    program.write_text(MACHINE.format(machines=machines, python=sys.executable))
    program.chmod(0o755)
    overlay = root / "conf/local.yaml"
    text = overlay.read_text()
    for name in ("work", "cache"):
        text = text.replace(f"{name}: ${{oc.env:TALLYWRIGHT_HOME,.tally}}", f"{name}: ${{oc.env:MACHINE,.tally}}")
    overlay.write_text(text.replace("engine:\n", f"engine:\n  interpreter: {program}\n"))
    model = root / "models" / MODEL / "model.yaml"
    assert "epochs: 30" in model.read_text()
    model.write_text(model.read_text().replace("epochs: 30", "epochs: 10"))

    with served(root) as airflow:
        rest = local.client(airflow)
        state, tasks = _ended(rest, f"{MODEL}__train", {"date": "2025-04-01", "effective_from": "2025-04-01"})
        assert state == "success", tasks
        assert set(tasks.values()) == {"success"}
        state, tasks = _ended(rest, f"{MODEL}__score", {"date": "2025-04-02"})
        assert state == "success", tasks

    ran = sorted((folder / "step").read_text().strip() for folder in machines.iterdir())
    train = ["snapshot", "train", "quality-gate", "operations-gate", "refit", "register", "promote"]
    assert ran == sorted([*train, "ingest", "day-gate", "score", "monitor"])
    (day,) = tally(root, "query", f"select score_date, generation from {MODEL}__tallies", "--json").splitlines()
    assert '"2025-04-02"' in day
    assert '"generation": 1' in day
