"""A real Airflow takes a challenger through its stages: shadow, a share of the keys, champion.

Days between the decisive ones are scored by `tally backfill`, which moves nobody; their labels make the stage end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edits import EASY_GATES, edited

from tallywright.orchestration.embedded import project as local
from tallywright.orchestration.embedded.processes import EmbeddedAirflow
from tallywright.orchestration.embedded.rest import AirflowRest

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]

MODEL = "late_orders"
SCORE = f"{MODEL}__score"
ROLLOUT = """
rollout:
  stages:
    - {stage: shadow, days: 6}
    - {stage: canary, share: 0.3, days: 6}
  limits: {max_mean_difference: 1}
"""
WEAK, SOUND = "epochs: 1\n    learning_rate: 1.0e-6", "epochs: 15\n    learning_rate: 2.0e-3"
# Labels are mature two days later: six days of a stage that begins on the 6th are there on the 14th.
BEGINS, TO_CANARY, TO_CHAMPION = "2025-04-05", "2025-04-14", "2025-04-23"
BETWEEN = (("2025-04-06", "2025-04-13"), ("2025-04-15", "2025-04-22"))


@dataclass(frozen=True, slots=True)
class Live:
    root: Path
    rest: AirflowRest
    tally: Callable[..., str]

    def log(self) -> list[dict[str, Any]]:
        return list(json.loads(self.tally(self.root, "history", MODEL, "--json")))

    def models(self, day: str) -> list[str]:
        """Roles and versions that scored a date, and how many rows of the table are theirs."""
        sql = f"select role, model_version, count(*) as n from {MODEL}__scores where score_date = '{day}' group by all"
        found = json.loads(self.tally(self.root, "query", sql, "--json"))
        return sorted(f"{row['role']} {row['model_version']}" for row in found)

    def scored(self, day: str) -> str:
        """Runs the DAG for a date to its good end; what the step `advance` wrote."""
        run, deadline = self.rest.trigger(SCORE, {"date": day}), time.monotonic() + 900
        while (state := self.rest.run_state(SCORE, run)) not in ("success", "failed"):
            assert time.monotonic() < deadline, self.rest.task_states(SCORE, run)
            time.sleep(1)
        assert state == "success", self.rest.task_states(SCORE, run)
        return self.rest.task_log(SCORE, run, "advance")


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory,
    tally: Callable[..., str],
    served: Callable[[Path], AbstractContextManager[EmbeddedAirflow]],
) -> Iterator[Live]:
    """A project with a weak champion and a sound version that is registered, and its Airflow."""
    root = tmp_path_factory.mktemp("rollout") / "sample"
    tally(root.parent, "init", str(root), "--model", MODEL)
    model = root / "models" / MODEL / "model.yaml"
    text = edited(model.read_text(), *EASY_GATES)
    model.write_text(edited(text, ("epochs: 30", WEAK)))
    tally(root, "ingest", MODEL, "--from", "2025-01-01", "--to", TO_CHAMPION)
    tally(root, "train", MODEL, "--date", "2025-03-20", "--effective-from", "2025-04-01", "--by", "a test")
    model.write_text(text.replace("epochs: 30", SOUND) + ROLLOUT)
    tally(root, "train", MODEL, "--date", BEGINS)
    with served(root) as airflow:
        yield Live(root, local.client(airflow), tally)


def test_the_daily_dag_takes_a_challenger_through_its_stages(live: Live) -> None:
    told = live.scored(BEGINS)
    assert [line["action"] for line in live.log()] == ["promote", "stage"], told
    live.tally(live.root, "backfill", MODEL, "--from", BETWEEN[0][0], "--to", BETWEEN[0][1])
    assert len(live.log()) == 2
    told = live.scored(TO_CANARY)
    assert [line["action"] for line in live.log()] == ["promote", "stage", "stage"], told
    live.tally(live.root, "backfill", MODEL, "--from", BETWEEN[1][0], "--to", BETWEEN[1][1])
    told = live.scored(TO_CHAMPION)
    first, shadow, canary, last = live.log()
    assert [line["action"] for line in (first, shadow, canary, last)] == ["promote", "stage", "stage", "promote"], told
    assert [line["effective_from"] for line in (shadow, canary, last)] == ["2025-04-06", "2025-04-15", "2025-04-24"]
    assert [line.get("stage") for line in (shadow, canary)] == ["shadow (1 of 2)", "canary 0.3 (2 of 2)"]
    assert {line["model_version"] for line in (shadow, canary, last)} == {last["model_version"]}

    old, new = first["model_version"], last["model_version"]
    assert live.models("2025-04-10") == [f"champion {old}"]
    assert live.models("2025-04-20") == [f"canary {new}", f"champion {old}"]
    # The run of an old date finds its day as it was, and moves nobody.
    told = live.scored("2025-04-20")
    assert "only the newest" in told
    assert len(live.log()) == 4
